"""Rules: how they are made, what they see of a row, how they fail, and several processes."""

import collections
import dataclasses
import functools
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import jlabel.data
from jlabel.data.row_chunks import read_chunks, row_type
from jlabel.data.rule_votes import RuleWarning, rule_votes
from jlabel.data.rules import Rule, RuleError, check_rules, rule
from jlabel.errors import InputError


@rule
def short(row):
    """Says 1 for a short text."""
    return 1 if len(row.text) < 3 else -1


@rule("has_b")
def contains_b(row):
    return 0 if "b" in row["text"] else None


def contains(row, word, label):
    return label if word in row.text else -1


@rule(vectorized=True)
def large(rows):
    return np.where(rows.n > 2, 1, -1)


@rule
def fails_on_three(row):
    return 1 // (row.n - 3) * 0


def even(row):
    return 1 - row.n % 2


def inverse_is_small(rows):
    if (np.asarray(rows.n) == 3).any():
        raise ValueError("three is here")
    return np.zeros(len(rows.n), int)


def identity(row):
    return row


def run(rules, data, **options) -> np.ndarray:
    return np.concatenate(list(rule_votes(rules, data, **options)))


TEXTS = ["a", "abc", "bb", "ccc", "b"]
TABLE = {"text": TEXTS, "n": [1, 2, 3, 4, 5]}
EXPECTED = [[1, -1, -1], [-1, 0, -1], [1, 0, 1], [-1, -1, 1], [1, 0, 1]]


# --- making rules


def test_forms_of_the_decorator():
    assert isinstance(short, Rule)
    assert (short.name, contains_b.name, large.name) == ("short", "has_b", "large")
    assert (short.vectorized, large.vectorized) == (False, True)
    assert short.__doc__ == "Says 1 for a short text."
    assert rule()(len).name == "len"
    assert rule(functools.partial(contains, word="a", label=1)).name == "contains"
    assert repr(large) == "Rule('large', vectorized=True)"


def test_a_rule_is_called_on_a_row_by_hand():
    assert short({"text": "a"}) == 1
    assert contains_b({"text": "a"}) is None
    assert rule("x")(functools.partial(contains, word="y", label=4))({"text": "xyz"}) == 4
    assert large(pd.DataFrame({"n": [1, 5]})).tolist() == [-1, 1]


def test_rules_of_other_libraries_keep_their_names():
    class Other:
        name = "other"

        def __call__(self, row):
            return 1

    assert [r.name for r in check_rules([Other(), short])] == ["other", "short"]


@pytest.mark.parametrize("form", [short, rule("by_partial")(functools.partial(contains, word="a", label=1)), rule(len)])
def test_rules_are_pickled(form):
    again = pickle.loads(pickle.dumps(form))
    assert (again.name, again.vectorized) == (form.name, form.vectorized)
    assert (again is form) == (form is short)


# --- what a rule sees


@dataclasses.dataclass
class Thing:
    text: str
    n: int


Pair = collections.namedtuple("Pair", "text n")  # noqa: PYI024
FORMS = {
    "DataFrame": pd.DataFrame(TABLE),
    "DataFrame with an index": pd.DataFrame(TABLE, index=[9, 9, 7, 1, 0]),
    "column lists": TABLE,
    "column arrays": {"text": np.array(TEXTS), "n": np.array(TABLE["n"])},
    "pyarrow": pa.table(TABLE),
    "list of mappings": [{"text": t, "n": n} for t, n in zip(*TABLE.values(), strict=True)],
    "structured array": np.array(list(zip(*TABLE.values(), strict=True)), dtype=[("text", "U3"), ("n", int)]),
}


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_columns_gives_the_same_votes(data, size):
    votes = run([short, contains_b, large], data, chunk_size=size)
    assert votes.dtype == np.int8
    np.testing.assert_array_equal(votes, EXPECTED)


@pytest.mark.parametrize("kind", [Thing, Pair])
def test_rows_that_are_objects(kind):
    rows = [kind(t, n) for t, n in zip(*TABLE.values(), strict=True)]
    expected = [[line[0]] for line in EXPECTED]
    for data in (rows, tuple(rows), iter(rows), (row for row in rows), collections.deque(rows)):
        np.testing.assert_array_equal(run([short], data, chunk_size=2), expected)


def test_rows_that_are_values():
    upper, first = rule("upper")(str.isupper), rule("first")(lambda text: ord(text[0]) - ord("a"))
    np.testing.assert_array_equal(run([first], ["a", "b"]), [[0], [1]])
    np.testing.assert_array_equal(run([upper], pd.Series(["a", "B"])), [[0], [1]])
    np.testing.assert_array_equal(run([rule("sum")(lambda row: row.sum())], np.eye(3, dtype=int) * 2), [[2]] * 3)
    columns = rule("columns", vectorized=True)(lambda rows: rows[:, 1] > 0)
    np.testing.assert_array_equal(run([columns], np.eye(3), chunk_size=2), [[0], [1], [0]])
    listed = rule("listed", vectorized=True)(lambda rows: [len(text) for text in rows])
    np.testing.assert_array_equal(run([listed], iter(["a", "bb"])), [[1], [2]])


def test_a_source_of_rows():
    source = jlabel.data.open("embedded:digits", "train")
    votes = run([rule("label")(lambda row: row["label"])], jlabel.data.subset(source, range(7)), chunk_size=3)
    np.testing.assert_array_equal(votes[:, 0], [source[i]["label"] for i in range(7)])


def test_a_row_is_read_by_attributes_and_items():
    row = row_type(("text", "class", "my id", 0, "count", "keys"))(("hi", 1, 2, 3, 4, 5))
    assert (row.text, row["class"], row["my id"], row[0], row.count, row.keys) == ("hi", 1, 2, 3, 4, 5)
    assert "text" in row
    assert "hi" not in row
    with pytest.raises(AttributeError, match="no column 'txt'; there are 'text', 'class', 'my id', 0"):
        _ = row.txt
    with pytest.raises(KeyError, match="no column 'txt'; there are 'text'"):
        _ = row["txt"]
    plain = row_type(("a", "b"))((1, 2))
    assert (dict(plain), plain.get("a"), plain.get("c", 7), list(plain)) == ({"a": 1, "b": 2}, 1, 7, [1, 2])


def test_an_iterator_is_read_one_chunk_ahead_at_most():
    read = []

    def feed():
        for i in range(100):
            read.append(i)
            yield i

    votes = rule_votes([rule(lambda row: row % 2)], feed(), chunk_size=10)
    next(votes)
    assert len(read) == 10
    next(votes)
    assert len(read) == 20


def test_no_rows():
    for data in ([], {"n": []}, pd.DataFrame({"n": []}), iter(())):
        assert list(rule_votes([large], data)) == []


# --- answers


def test_answers_that_are_votes():
    answers = [-1, 0, 126, True, False, None, np.int64(3), np.bool_(True), 2.0, np.float32(1), np.array(4)]
    np.testing.assert_array_equal(run([identity], answers)[:, 0], [-1, 0, 126, 1, 0, -1, 3, 1, 2, 1, 4])
    of_columns = rule("c", vectorized=True)
    for column in (
        np.array([0.0, -1.0]),
        np.array([0, -1], object),
        pd.Series([0, -1], dtype="Int8"),
        [0, None],
        np.array([0, -1], np.int64),
    ):
        np.testing.assert_array_equal(run([of_columns(lambda rows, c=column: c)], [0, 0])[:, 0], [0, -1])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (2, "its vote is 2; allowed: -1 (abstain) to 1"),
        (-2, "its vote is -2"),
        (300, "its vote is 300"),
        (0.5, "its vote is 0.5"),
        (float("nan"), "its vote is nan"),
        ("SPAM", "its vote is 'SPAM'"),
        ([0], r"its vote is [0]"),
    ],
)
def test_answers_that_are_none_are_named(answer, said):
    rows = [0, 1, 0, answer, 0]
    with pytest.raises(RuleError) as error:
        run([rule("ok")(lambda row: 0), rule("mine")(identity)], rows, chunk_size=2, num_classes=2)
    assert f"rule 'mine' fails on row 3: {said}" in str(error.value)
    assert "on_error='abstain'" in str(error.value)
    with pytest.warns(RuleWarning, match="'mine' on 1 rows") as caught:
        votes = run([rule("mine")(identity)], rows, num_classes=2, on_error="abstain")
    np.testing.assert_array_equal(votes[:, 0], [0, 1, 0, -1, 0])
    (failure,) = caught[0].message.failures
    assert (failure.rule, failure.num_rows, failure.first_row) == ("mine", 1, 3)
    of_columns = rule("mine", vectorized=True)(lambda column: jlabel.data.source.object_array(column))
    with pytest.raises(RuleError) as error:
        run([of_columns], rows, num_classes=2)
    assert f"rule 'mine' fails on row 3: {said}" in str(error.value)


# --- failures


def test_a_rule_that_raises_is_named_with_its_row():
    with pytest.raises(RuleError) as error:
        run([large, fails_on_three], TABLE, chunk_size=2)
    assert str(error.value).startswith("rule 'fails_on_three' fails on row 2: ZeroDivisionError: integer ")
    assert isinstance(error.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_failures_are_counted(size):
    table = {"n": [3, 1, 3, 2, 3, 3, 0]}
    of_columns = rule(vectorized=True)(inverse_is_small)
    with pytest.warns(RuleWarning) as caught:
        votes = run([fails_on_three, large, of_columns], table, chunk_size=size, on_error="abstain")
    there = np.where(np.array(table["n"]) == 3, -1, 0)
    np.testing.assert_array_equal(votes, np.stack([there, np.where(there < 0, 1, -1), there], 1))
    (warning,) = caught
    rows = [(f.rule, f.num_rows, f.first_row) for f in warning.message.failures]
    assert rows == [("fails_on_three", 4, 0), ("inverse_is_small", 4, 0)]
    assert "'inverse_is_small' on 4 rows (first: row 0, ValueError: three is here)" in str(warning.message)


def test_a_vectorised_rule_that_raises_is_named_with_its_row():
    with pytest.raises(RuleError, match="rule 'inverse_is_small' fails on row 2: ValueError: three is here"):
        run([rule(vectorized=True)(inverse_is_small)], pd.DataFrame(TABLE))


def test_a_vectorised_rule_that_always_fails_is_not_called_on_every_row():
    calls = []

    def broken(rows):
        calls.append(len(rows))
        raise KeyError("gone")

    with pytest.warns(RuleWarning, match="'broken' on 5000 rows .first: row 0, KeyError: 'gone'."):
        votes = run([rule(vectorized=True)(broken)], np.zeros(5000), on_error="abstain")
    assert (votes == -1).all()
    assert len(calls) < 200


def test_a_vectorised_rule_of_another_shape():
    with pytest.raises(
        RuleError, match=r"rule 'one' fails on row 0: .* shape \(\) for 1 rows, not one vote for each row"
    ):
        run([rule("one", vectorized=True)(lambda rows: 1)], np.zeros(3))


def test_mappings_become_columns_once_for_all_rules():
    read = []

    class Counted(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    rules = [rule(f"r{i}", vectorized=True)(lambda rows, i=i: rows.n > i) for i in range(3)]
    np.testing.assert_array_equal(run(rules, [Counted(n=1), Counted(n=2)]), [[1, 0, 0], [1, 1, 0]])
    assert read == ["n", "n"]


def test_stop_iteration_does_not_cut_the_rows():
    def odd(row):
        return next(iter([0] * (row % 2)))

    with pytest.raises(RuleError, match="rule 'odd' fails on row 2: StopIteration"):
        run([odd], [1, 1, 2, 1])
    with pytest.warns(RuleWarning, match="'odd' on 1 rows"):
        np.testing.assert_array_equal(run([odd], [1, 1, 2, 1], on_error="abstain")[:, 0], [0, 0, -1, 0])


def test_a_warning_for_many_rules_stays_short():
    rules = [rule(f"r{i}")(lambda row: 1 / 0) for i in range(8)]
    with pytest.warns(RuleWarning, match="; and 3 more rules$") as caught:
        run(rules, [0], on_error="abstain")
    assert len(caught[0].message.failures) == 8


def test_no_failure_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run([short], TABLE, on_error="abstain")


# --- settings and data


@pytest.mark.parametrize(
    ("rules", "options", "message"),
    [
        ([], {}, "rules is empty"),
        (short, {}, r"rules must be a list of rules, got Rule\('short'\)"),
        ([short, rule("short")(len)], {}, "rules 0 and 1 are both called 'short'"),
        ([3], {}, "rule '3': 3 is no function"),
        ([short], {"workers": -1}, "workers must be a whole number from 0, got -1"),
        ([short], {"chunk_size": 0}, "chunk_size must be a whole number from 1, got 0"),
        ([short], {"on_error": "ignore"}, "on_error must be 'raise' or 'abstain', got 'ignore'"),
    ],
)
def test_bad_settings_are_refused_at_once(rules, options, message):
    with pytest.raises(RuleError, match=message):
        rule_votes(rules, TABLE, **options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1, 2], "b": [1]}, r"columns of data must have one length, got {'a': 2, 'b': 1}"),
        ({}, "columns of data must have one length"),
        ({"a": "text"}, "a column of data is the single value 'text'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "data has two columns 'a'"),
        ("some text", "data is a str: give a DataFrame"),
        (3, "data is a int: give a DataFrame"),
        (np.float64(3), "data is the single value 3.0"),
    ],
)
def test_bad_data_are_refused_at_once(data, message):
    with pytest.raises(InputError, match=message):
        rule_votes([short], data)


def test_mappings_of_other_keys():
    rows = [{"n": 1}, {"m": 2}]
    with pytest.raises(RuleError, match=r"rule 'large' fails on row 1: .*no column 'n'; there are 'm'"):
        run([large], rows)
    with pytest.raises(RuleError, match=r"fails on row 1: AttributeError: the row has no 'n'; it has 'm'"):
        run([rule("n")(lambda row: row.n)], rows)


def test_chunks_say_where_they_start():
    assert [(c.start, c.size) for c in read_chunks(range(5), 2)] == [(0, 2), (2, 2), (4, 1)]
    assert [(c.start, c.size) for c in read_chunks(iter(range(4)), 2)] == [(0, 2), (2, 2)]


# --- several processes


def test_workers_vote_as_one_process_does():
    rules = [short, contains_b, large, rule("with_c")(functools.partial(contains, word="c", label=5))]
    table = pd.DataFrame({"text": TEXTS * 7, "n": range(35)})
    np.testing.assert_array_equal(run(rules, table, workers=2, chunk_size=4), run(rules, table))


@pytest.mark.slow
def test_workers_read_an_iterator_of_objects():
    things = [Thing(t, n) for t, n in zip(TEXTS * 7, range(35), strict=True)]
    votes = run([short, even], iter(things), workers=3, chunk_size=3)
    np.testing.assert_array_equal(votes, run([short, even], things))


@pytest.mark.slow
def test_failures_in_workers_are_named_and_counted():
    with pytest.raises(RuleError, match="rule 'fails_on_three' fails on row 2: ZeroDivisionError"):
        run([large, fails_on_three], TABLE, workers=1, chunk_size=2)
    with pytest.warns(RuleWarning, match="'fails_on_three' on 3 rows"):
        votes = run([fails_on_three], {"n": [3, 1, 3, 3]}, workers=1, chunk_size=2, on_error="abstain")
    np.testing.assert_array_equal(votes[:, 0], [-1, 0, -1, -1])


def test_a_rule_that_cannot_be_sent_is_named():
    with pytest.raises(RuleError, match=r"rule 'mine' cannot be sent to worker processes .*: define it with def"):
        run([short, rule("mine")(lambda row: 1)], TABLE, workers=1)


def test_rows_that_cannot_be_sent_are_named():
    with pytest.raises(RuleError, match="rows 0 to 1 cannot be sent to worker processes"):
        run([short], [lambda: 0, lambda: 1], workers=1)


SCRIPT = """
from jlabel.data.rule_votes import rule_votes
from jlabel.data.rules import rule

@rule
def one(row):
    return 1

@rule
def dies(row):
    import os
    os._exit(3)

if __name__ == "__main__":
    print(sum(len(votes) for votes in rule_votes([one], range(10), workers=2, chunk_size=3)))
    try:
        list(rule_votes([dies], range(10), workers=1))
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_rules_of_a_script_and_a_dying_worker(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "10"
    assert "a worker process died at row 0 or soon after" in done.stdout


@pytest.mark.slow
def test_rules_typed_in_are_named():
    code = (
        "from jlabel.data.rule_votes import rule_votes\n"
        "def one(row): return 1\n"
        "try:\n    list(rule_votes([one], range(3), workers=1))\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("rule 'one' cannot be loaded in a worker process")
