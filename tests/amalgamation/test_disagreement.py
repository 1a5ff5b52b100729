"""Tables of who contradicted whom, and of what transfer changed."""

import numpy as np
import pandas as pd
import pytest

from jlabel.amalgamation import AmalgamationError, disagreement_report, transfer_targets
from tests.amalgamation.scripted import draw_linear, logit, scripted

ROWS = np.zeros((2, 1), np.float32)


@pytest.fixture(scope="module")
def report():
    """West is told car by east, follows, and turns road and sea as well."""
    east = scripted(["tree", "car"], [logit(0.3), logit(0.9)])
    answer = {"car": [logit(0.8), logit(0.7), logit(0.1)]}
    west = scripted(["car", "road", "sea"], [logit(0.2), logit(0.4), logit(0.6)], answer)
    result = transfer_targets({"east": east, "west": west}, ROWS)
    return disagreement_report(result, index=["p", "q"], examples=1)


def test_labels(report):
    table = report.labels.set_index("label")
    assert list(table.index) == ["tree", "car", "road", "sea"]
    assert table.loc["car", "teachers"] == ("east", "west")
    assert table["disagreements"].tolist() == [0, 2, 0, 0]
    assert table["share"].tolist() == [0, 1, 0, 0]
    assert table["transfers"].tolist() == [0, 2, 0, 0]
    np.testing.assert_allclose(table["mean_change"], [0, 0, 0.3, -0.5], atol=1e-6)
    assert table["turned_positive"].tolist() == [0, 0, 2, 0]
    assert table["turned_negative"].tolist() == [0, 0, 0, 2]


def test_pairs(report):
    table = report.pairs
    assert table[["label", "source", "target"]].to_numpy().tolist() == [
        ["car", "east", "west"],
        ["car", "west", "east"],
    ]
    assert table["told"].tolist() == [2, 0]
    assert table["followed"].tolist() == [2, 0]
    np.testing.assert_allclose(table["mean_change"], [0.6, 0], atol=1e-6)
    assert table["revisable"].all()


def test_effects_on_other_labels(report):
    table = report.effects[report.effects["rows"] > 0].set_index("changed")
    assert set(table["teacher"]) == {"west"}
    assert set(table["told"]) == {"car"}
    np.testing.assert_allclose(table.loc[["car", "road", "sea"], "mean_change"], [0.6, 0.3, -0.5], atol=1e-6)
    assert table.loc["road", ["turned_positive", "turned_negative"]].tolist() == [2, 0]
    assert table.loc["sea", ["turned_positive", "turned_negative"]].tolist() == [0, 2]


def test_examples(report):
    (line,) = report.examples.to_dict("records")
    assert (line["label"], line["row"], line["name"], line["other_labels"]) == ("car", 0, "p", "+road, -sea")
    assert line["p(east)"] == pytest.approx(0.9, abs=1e-6)
    assert line["p(west)"] == pytest.approx(0.2, abs=1e-6)
    assert line["target"] == pytest.approx(0.9, abs=1e-6)


def test_summary(report):
    assert report.summary() == "\n".join(
        [
            "2 rows; labels that several teachers know: 1 of 4; contradictions: 2",
            "  car: east, west differ in 100.0% (2); targets turned positive 0, negative 0",
            "Who told whom:",
            "  east -> west, car: 2; west followed on 2, mean change +0.600",
            "Other labels that turned:",
            "  west, told car: road positive 2, negative 0 of 2, mean change +0.300",
            "  west, told car: sea positive 0, negative 2 of 2, mean change -0.500",
        ]
    )
    assert len(report.summary(lines=1).splitlines()) == 6


def test_counts_are_those_of_the_arrays():
    generator = np.random.default_rng(3)
    models = draw_linear([("a", "b", "c"), ("b", "c", "d"), ("c", "e", "a")], generator)
    result = transfer_targets(models, generator.normal(size=(40, 3)).astype(np.float32))
    report = disagreement_report(result)
    assert report.pairs["told"].tolist() == result.transfers.sum(axis=0).tolist()
    assert report.labels["disagreements"].tolist() == result.disagreement.sum(axis=0).tolist()
    assert report.labels["transfers"].sum() == result.transfers.sum()
    for line in report.examples.itertuples():
        said = [value for value in line[4:-2] if not np.isnan(value)]
        assert min(said) <= 0.5 < max(said)
        assert line.name == line.row
    disputed = result.disagreement.sum(axis=0)
    assert len(report.examples) == np.minimum(disputed, 3).sum()


def test_teachers_without_revision_change_nothing_else():
    probs = {"east": pd.DataFrame({"car": [0.9, 0.1]}), "west": pd.DataFrame({"car": [0.2, 0.2], "sea": [0.5, 0.5]})}
    report = disagreement_report(transfer_targets(probs, ROWS))
    assert not report.pairs["revisable"].any()
    assert report.effects.empty
    assert "east -> west, car: 1; west fixed" in report.summary()


def test_nothing_shared():
    result = transfer_targets([scripted("a", [1.0]), scripted("b", [1.0])], ROWS)
    report = disagreement_report(result)
    assert report.summary() == "2 rows; no label is known to two teachers, so there is nothing to contradict."
    assert report.pairs.empty
    assert report.examples.empty
    assert disagreement_report(transfer_targets([scripted("a", [1.0])] * 2, ROWS[:0])).labels["share"].tolist() == [0]


def test_refuses_an_index_of_other_rows():
    result = transfer_targets([scripted("a", [1.0])], ROWS)
    with pytest.raises(AmalgamationError, match="index names 3 rows; there are 2"):
        disagreement_report(result, index=range(3))
    with pytest.raises(AmalgamationError, match="examples is -1; allowed: whole numbers from 0"):
        disagreement_report(result, examples=-1)
