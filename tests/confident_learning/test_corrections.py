"""The reviewer's table: what it does to the labels, and every way in which it can be wrong."""

import numpy as np
import pandas as pd
import pytest

from jlabel import InputError
from jlabel.confident_learning import ISSUE_COLUMNS, PROVENANCE_COLUMNS, apply_corrections, issue_table

NAMES = ("cat", "dog", "fox")
LABELS = np.array([0, 1, 2, 0, 1, -1])
ROWS = np.array([f"r{i}" for i in range(6)])


def table(**changes) -> pd.DataFrame:
    """Rows 3, 1 and 2, worst first; `changes` are whole columns."""
    made = issue_table(
        [3, 1, 2],
        names=ROWS[[3, 1, 2]],
        given=[0, 1, 2],
        suggested=[1, 2, 0],
        scores=[-0.9, -0.5, -0.1],
        prob_given=[0.05, 0.2, 0.4],
        prob_suggested=[0.95, 0.7, 0.5],
        label_names=NAMES,
    )
    for name, values in changes.items():
        made[name] = values
    return made


def apply(made, **options):
    return apply_corrections(made, LABELS, label_names=NAMES, names=ROWS, when="2025-01-31", **options)


def test_table_has_empty_columns_for_the_reviewer():
    made = table()
    assert tuple(made.columns) == ISSUE_COLUMNS
    assert made["given"].tolist() == ["cat", "dog", "fox"]
    assert made["suggested"].tolist() == ["dog", "fox", "cat"]
    assert (made[["decision", "corrected", "reviewer", "comment"]] == "").all(axis=None)


def test_each_decision():
    made = table(decision=["fix", "both", "drop"], corrected=["fox", "", ""], reviewer="Ada", comment=["a fox", "", ""])
    found = apply(made)
    assert found.labels.tolist() == [0, 1, 2, 2, 1, -1]
    assert found.also.tolist() == [-1, 2, -1, -1, -1, -1]
    assert found.keep.tolist() == [True, True, False, True, True, True]
    assert found.undecided == 0
    assert tuple(found.provenance.columns) == PROVENANCE_COLUMNS
    told = found.provenance[["row", "name", "decision", "old", "new", "reviewer", "comment", "when"]].values.tolist()
    assert told == [
        [1, "r1", "both", "dog", "dog + fox", "Ada", "", "2025-01-31"],
        [2, "r2", "drop", "fox", "", "Ada", "", "2025-01-31"],
        [3, "r3", "fix", "cat", "fox", "Ada", "a fox", "2025-01-31"],
    ]


def test_fix_takes_the_suggestion_and_empty_decisions_change_nothing():
    found = apply(table(decision=["Fix ", "", "keep"]))
    assert found.labels.tolist() == [0, 1, 2, 1, 1, -1]
    assert found.keep.all()
    assert found.undecided == 1
    assert found.provenance["decision"].tolist() == ["keep", "fix"]
    assert found.provenance["new"].tolist() == ["fox", "dog"]


def test_an_untouched_table_changes_nothing():
    found = apply(table())
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.undecided == 3
    assert len(found.provenance) == 0


def test_read_back_from_csv(tmp_path):
    """A table that went through a spreadsheet: numbers as texts, rows as fractions, columns moved and left out."""
    made = table(decision=["fix", "", ""])
    made["row"] = [3.0, 1.0, 2.0]
    made[["decision", "given", "suggested", "row", "reviewer"]].to_csv(tmp_path / "r.csv", index=False)
    back = pd.read_csv(tmp_path / "r.csv")
    assert apply(back).labels.tolist() == [0, 1, 2, 1, 1, -1]


def test_two_reviewers_who_agree_are_joined():
    both = pd.concat([table(decision="fix", reviewer="Ada"), table(decision="fix", reviewer="Bo")], ignore_index=True)
    found = apply(both)
    assert found.provenance["reviewer"].tolist() == ["Ada; Bo"] * 3
    assert found.labels.tolist() == [0, 2, 0, 1, 1, -1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decision": ["fix", "wrong", ""]}, "reviewed, line 3: decision 'wrong' is none of keep, fix, drop, both"),
        (
            {"decision": "fix", "corrected": ["wolf", "", ""]},
            "line 2: label 'wolf' is none of the 3 labels cat, dog, fox",
        ),
        ({"decision": "fix", "corrected": ["cat", "", ""]}, "line 2: decision fix with the given label 'cat' itself"),
        ({"decision": "drop", "row": [3, 17, 2]}, "line 3: row '17' is none of the data's 6 rows"),
        ({"decision": "drop", "row": [3, "x", 2]}, "line 3: row 'x' is none of the data's 6 rows"),
        ({"decision": "drop", "row": [-3, 1, 2]}, "line 2: row '-3' is none of the data's 6 rows"),
        (
            {"decision": "drop", "given": ["cat", "dog", "cat"]},
            "line 4: row 2 has the label 'fox' in the data, 'cat' was",
        ),
        ({"decision": "drop", "name": ["r3", "r2", "r2"]}, "line 3: row 1 is 'r2' here but 'r1' in the data"),
        ({"decision": ["", "drop", ""], "corrected": ["", "fox", ""]}, "line 3: decision drop beside corrected 'fox'"),
        ({"decision": "keep", "corrected": ["dog", "", ""]}, "line 2: decision keep beside corrected 'dog'"),
        ({"corrected": ["dog", "", ""]}, "line 2: corrected is 'dog' but decision is empty; write fix or both"),
        ({"decision": "fix", "row": [3, 5, 2], "name": ""}, "line 3: row 5 has the label '' in the data"),
    ],
)
def test_bad_decisions_name_the_line(changes, message):
    with pytest.raises(InputError) as caught:
        apply(table(**changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_answers_about_one_row():
    two = pd.concat([table(decision="fix"), table(decision=["keep", "", ""])], ignore_index=True)
    with pytest.raises(InputError, match=r"my\.csv, line 9: row 3 is keep here but fix 'dog' in line 2; agree on one"):
        apply(two, file="my.csv", lines=[2, 3, 4, 9, 10, 11])


def test_missing_column_and_lengths():
    with pytest.raises(InputError, match="reviewed: no column 'decision'; there are name, row"):
        apply(table().drop(columns="decision"))
    with pytest.raises(InputError, match=r"score has shape \(2,\), rows \(1,\)"):
        issue_table(
            [1], names=["a"], given=[0], suggested=[1], scores=[0, 1], prob_given=[0], prob_suggested=[1],
            label_names=NAMES,
        )  # fmt: skip
    with pytest.raises(InputError, match=r"suggested\[0\] is 3; labels index 3 names, 0 to 2"):
        issue_table(
            [1], names=["a"], given=[0], suggested=[3], scores=[0], prob_given=[0], prob_suggested=[1],
            label_names=NAMES,
        )  # fmt: skip
