"""Rows of a study: who keeps a fine label, which coarse labels the others get, and which rows are the test rows."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments import fusion
from experiments.fusion_config import FusionConfig
from experiments.fusion_data import Rows, coarsen, load_fusion, load_plan
from jlabel import InputError
from jlabel.data import DataError, from_arrays
from jlabel.data.source import object_array
from tests.experiments import worlds
from tests.experiments.worlds import ARCHIVES, CATEGORIES, TEXT_GRAPH

# all > formal > cs, math; "fields" is a set above the archives, "cs only" one that lacks half of the categories.
DEEP = {
    **TEXT_GRAPH,
    "nodes": [*TEXT_GRAPH["nodes"], {"id": "formal"}],
    "edges": [["all", "formal"], *(["formal", a] for a in ARCHIVES), *TEXT_GRAPH["edges"][2:]],
    "blocks": [{**TEXT_GRAPH["blocks"][0], "parent": "formal"}, *TEXT_GRAPH["blocks"][1:]],
    "label_sets": [
        *TEXT_GRAPH["label_sets"],
        {"name": "fields", "labels": {"Formal": "formal"}},
        {"name": "cs only", "labels": {"CS": "cs"}},
    ],
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deep")
    return load_plan(str(worlds.write_graph(folder, **DEEP)), max_paths=8, keep=1.0, seed=0)


def rows_of(plan, fine, several=None):
    """Rows of these categories, the inputs their numbers."""
    fine = np.asarray(fine, np.int32)
    numbers = np.arange(len(fine), dtype=np.float32)[:, None]
    source = from_arrays({"features": numbers, "label": fine}, label_names=CATEGORIES)
    first = plan.offsets["categories"]
    targets = None if several is None else object_array([tuple(first + c for c in row) for row in several])
    fine_sets = None if several is None else np.array([[c in row for c in range(4)] for row in several])
    return Rows(numbers, first + fine, fine, np.asarray(source.columns["name"]), source, {}, None, targets, fine_sets)


def settings(**changes):
    defaults = {"fine_per_class": 2, "fine_fraction": None, "coarse_per_class": None, "coarse_set": ("archives",)}
    return SimpleNamespace(**{**defaults, **changes})


def test_some_rows_keep_their_label_and_the_others_get_the_one_above(plan):
    rows = rows_of(plan, [0, 1, 2, 3] * 5)
    kept, other = coarsen(rows, plan, "categories", settings(), seed=0)
    np.testing.assert_array_equal(np.bincount(kept.fine), 2)
    np.testing.assert_array_equal(np.bincount(other.fine), 3)
    assert sorted([*kept.inputs[:, 0], *other.inputs[:, 0]]) == list(range(20))
    for part in (kept, other):  # everything about a row stays together
        np.testing.assert_array_equal(part.fine, part.inputs[:, 0] % 4)
        np.testing.assert_array_equal(part.source.labels, part.fine)
        assert list(part.names) == list(part.source.columns["name"])
    np.testing.assert_array_equal(kept.target, plan.offsets["categories"] + kept.fine)
    np.testing.assert_array_equal(other.target, plan.offsets["archives"] + other.fine // 2)


def test_several_coarse_sets_are_drawn_row_by_row(plan):
    rows = rows_of(plan, [0, 1, 2, 3] * 10)
    config = settings(coarse_set=("fields", "archives"))
    _, other = coarsen(rows, plan, "categories", config, seed=0)
    nodes, fine_nodes = plan.class_nodes[other.target], np.array(plan.graph.label_set("categories").nodes)[other.fine]
    assert plan.graph.reaches[nodes, fine_nodes].all()
    at_archive = other.target < plan.offsets["fields"]
    assert 8 < at_archive.sum() < 24  # of 32
    assert all({True, False} == set(at_archive[other.fine == c].tolist()) for c in range(4))
    again, another = (coarsen(rows, plan, "categories", config, seed=seed)[1] for seed in (0, 1))
    np.testing.assert_array_equal(again.target, other.target)
    np.testing.assert_array_equal(again.inputs, other.inputs)
    assert (another.target != other.target).any()
    assert (another.inputs != other.inputs).any()


def test_one_set_more_does_not_change_who_keeps_the_label(plan):
    rows = rows_of(plan, [0, 1, 2, 3] * 10)
    one, two = (
        coarsen(rows, plan, "categories", settings(coarse_set=sets), seed=3)
        for sets in (("archives",), ("archives", "fields"))
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.inputs, b.inputs)


@pytest.mark.parametrize(
    ("changes", "kept", "other"),
    [
        ({"fine_per_class": None, "fine_fraction": 0.25}, [2, 1, 1, 2], [6, 3, 2, 8]),
        ({"fine_per_class": None, "fine_fraction": 0.01}, [1, 1, 1, 1], [7, 3, 2, 9]),
        ({"fine_per_class": 3}, [3, 3, 3, 3], [5, 1, 0, 7]),
        ({"fine_per_class": 2, "coarse_per_class": 2}, [2, 2, 2, 2], [2, 2, 1, 2]),
        ({"fine_per_class": 9, "coarse_per_class": 5}, [8, 4, 3, 9], [0, 0, 0, 1]),
    ],
)
def test_how_many_rows(plan, changes, kept, other):
    """Of 8, 4, 3 and 10 rows a class; at least one always keeps its label, and rounding is Python's."""
    rows = rows_of(plan, np.repeat([0, 1, 2, 3], [8, 4, 3, 10]))
    found = coarsen(rows, plan, "categories", settings(**changes), seed=0)
    assert [np.bincount(part.fine, minlength=4).tolist() for part in found] == [kept, other]


def test_rows_of_several_labels_get_each_label_above_once(plan):
    several = [(0, 1), (0, 2), (3, 2, 1), (1,)] * 3
    rows = rows_of(plan, [row[0] for row in several], several)
    _, other = coarsen(rows, plan, "categories", settings(fine_per_class=1), seed=0)
    first = plan.offsets["archives"]
    above = {(0, 1): (0,), (0, 2): (0, 1), (3, 2, 1): (1, 0), (1,): (0,)}
    expected = [tuple(first + a for a in above[several[int(i)]]) for i in other.inputs[:, 0]]
    assert other.targets.tolist() == expected
    np.testing.assert_array_equal(other.target, [row[0] for row in expected])
    np.testing.assert_array_equal(other.fine_sets.sum(1), [len(several[int(i)]) for i in other.inputs[:, 0]])
    both = coarsen(rows, plan, "categories", settings(fine_per_class=1, coarse_set=("archives", "fields")), seed=0)[1]
    for target, row in zip(both.target, both.targets, strict=True):
        at_field = target == plan.offsets["fields"]
        assert row == (target,) if at_field else row[0] == target
        assert all((c == plan.offsets["fields"]) == at_field for c in row)  # all of a row's labels are of one set


def test_refusals(plan):
    rows = rows_of(plan, [0, 1, 2, 3] * 2)
    with pytest.raises(DataError, match="every row keeps its fine label, so no coarse rows are left; keep fewer$"):
        coarsen(rows, plan, "categories", settings(), seed=0)
    with pytest.raises(DataError, match=r"^label 'math\.\w\w' lies below no label of --coarse_set=cs only$"):
        coarsen(rows, plan, "categories", settings(fine_per_class=1, coarse_set=("archives", "cs only")), seed=0)
    with pytest.raises(InputError, match=r"no label set 'archive'; there are \['categories', 'archives', 'fields'"):
        coarsen(rows, plan, "categories", settings(fine_per_class=1, coarse_set=("archive",)), seed=0)
    # A class that keeps all its rows needs no label above it.
    few = rows_of(plan, [0, 0, 1, 1, 2, 3])
    _, other = coarsen(few, plan, "categories", settings(fine_per_class=1, coarse_set=("cs only",)), seed=0)
    assert sorted(other.fine) == [0, 1]


# --- from files


@pytest.fixture
def world(tmp_path):
    worlds.write_graph(tmp_path)
    worlds.write_features(tmp_path)
    return tmp_path


def load(config, seed=0):
    plan = load_plan(config.graph, max_paths=8, keep=1.0, seed=0)
    return load_fusion(config, plan, data=config.data, coarse_data=config.coarse_data, seed=seed)[0]


@pytest.mark.parametrize(
    ("test_split", "sizes"), [("test", (24, 8, 12)), ("val", (24, None, 8)), ("train", (24, 8, 24))]
)
def test_the_test_split_may_be_another(world, test_split, sizes):
    data = load(worlds.feature_config(world, test_split=test_split))
    assert tuple(None if part is None else len(part) for part in (data.train, data.val, data.test)) == sizes
    assert data.test.source.split == test_split
    assert all(str(name).startswith(test_split) for name in data.test.names)


def test_an_unknown_test_split_is_refused(world):
    with pytest.raises(InputError, match="no split 'dev2'; there are train, val, test, all$"):
        load(worlds.feature_config(world, test_split="dev2"))


def test_training_end_to_end_holds_rows_out_where_there_is_no_validation(text_world):
    config = worlds.text_config(text_world, test_split="val")
    data = load(config)
    names = [*data.train.names, *data.val.names]
    assert (len(data.test), len(data.val), len(names), len(set(names))) == (12, 4, 24, 24)
    assert {str(name).partition("/")[0] for name in names} == {"train"}
    np.testing.assert_array_equal(np.sort(data.val.fine), range(4))
    assert len(load(worlds.frozen_text_config(text_world, test_split="val")).train) == 24  # a head has folds


def test_the_seed_draws_who_keeps_the_label(world):
    config = worlds.feature_config(world, coarse_data="rest", fine_per_class=2, coarse_set=("species",))
    first, again, other = (load(config, seed) for seed in (0, 0, 1))
    assert list(first.train.names) == list(again.train.names)
    assert list(first.train.names) != list(other.train.names)
    assert (len(first.train), len(first.coarse), first.coarse_sets) == (8, 16, ("species",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"coarse_set": ("species", "breeds")},
            "--coarse_set=species,breeds: several label sets are for --coarse_data=rest",
        ),
        (
            {"coarse_data": "rest", "coarse_set": ("species",), "fine_per_class": 2, "fine_fraction": 0.5},
            "--coarse_data=rest needs --coarse_set and one of --fine_per_class and --fine_fraction",
        ),
        (
            {"coarse_data": "rest", "coarse_set": ("species",), "fine_per_class": 6},
            "--coarse_data=rest: every row keeps its fine label, so no coarse rows are left; keep fewer",
        ),
    ],
)
def test_settings_that_the_rows_refuse(world, changes, message):
    config = worlds.feature_config(world, **changes)
    with pytest.raises(InputError) as caught:
        fusion.run(config, world / "run")
    assert str(caught.value) == message
    assert not (world / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine_counts": (1,)}, "fine_counts needs coarse_data=rest and fine_per_class, whose choices it takes over"),
        (
            {"fine_counts": (1,), "coarse_data": "rest", "fine_fraction": 0.5},
            "fine_counts needs coarse_data=rest and fine_per_class, whose choices it takes over",
        ),
        (
            {"fine_counts": (1, 7), "coarse_data": "rest", "fine_per_class": 2, "coarse_per_class": 5},
            "fine_counts: 7 leaves no coarse rows of 5 a class",
        ),
        ({"fine_counts": (0,)}, "fine_counts must be a positive whole number, got 0"),
        ({"fine_fraction": 1.0}, "fine_fraction=1.0 must lie between 0 and 1"),
        ({"layer_decay": 0.0}, "layer_decay=0.0 must lie above 0 and be at most 1"),
        ({"hidden": 0, "skip": False}, "hidden=0 must be at least 1, or 0 with skip"),
        ({"rates": (0.1, -1.0)}, "rates must be a positive finite number, got -1.0"),
        ({"accumulate": 0}, "accumulate must be a positive whole number, got 0"),
        ({"coarse_per_class": 0}, "coarse_per_class must be a positive whole number, got 0"),
    ],
)
def test_settings_that_contradict(changes, message):
    with pytest.raises(InputError) as caught:
        FusionConfig(experiment="e", **{"data": "csv:a", "coarse_data": "csv:b", "graph": "pets", **changes})
    assert str(caught.value) == message


def test_curves_need_fixed_features(text_world):
    config = worlds.text_config(
        text_world, coarse_data="rest", coarse_set=("archives",), fine_per_class=2, fine_counts=(1,)
    )
    with pytest.raises(InputError, match="^fine_counts is for heads on fixed features: freeze a pretrained encoder"):
        fusion.run(config, text_world / "curve")
    assert not (text_world / "curve").exists()


# --- the curve


def test_a_curve_over_fine_rows(world, monkeypatch):
    """Every count has as many rows in all, and the hyper-parameters of the main study."""
    config = worlds.feature_config(
        world, coarse_data="rest", coarse_set=("species",), fine_per_class=3, coarse_per_class=2, fine_counts=(4, 1, 3),
        methods=("FFN",), steps=20, seeds=(0, 1), learning_rate=None,
    )  # fmt: skip
    seen, train = [], fusion.train_heads

    def watched(method, datas, *arguments):
        found = train(method, datas, *arguments)
        sizes = {(len(data.train) // 4, len(data.coarse) // 4) for data in datas}
        seen.append((method.name, sizes, found[0].chosen, found[0].fitted))
        return found

    curves = []
    report = fusion.report_study
    monkeypatch.setattr(fusion, "train_heads", watched)
    monkeypatch.setattr(
        fusion, "report_study", lambda *a, **options: curves.append(options["curve"]) or report(*a, **options)
    )
    rows = fusion.run(config, world / "run")
    for name in config.methods:
        mine = [(sizes, chosen, fitted) for method, sizes, chosen, fitted in seen if method == name]
        assert [sizes for sizes, _, _ in mine] == [{(3, 2)}, {(4, 1)}, {(1, 4)}]
        assert [kept for _, *kept in mine] == [list(mine[0][1:])] * 3
        assert list(curves[0][name]) == [1, 3, 4]
        assert all(len(values) == 2 for values in curves[0][name].values())
        (row,) = (row for row in rows if (row.method, row.metric) == (name, "accuracy"))
        assert np.mean(curves[0][name][3]) == pytest.approx(row.mean)
    assert (world / "run" / "figures" / "fine_rows.png").exists()
    assert "All other rows of a class have a coarse label." in (world / "run" / "report.html").read_text()
