"""Trust that is earned, on teachers whose errors are known."""

import functools

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.tree import DecisionTreeClassifier

from jlabel.amalgamation import AmalgamationError, Trust, as_teacher, earn_trust, label_union, transfer_targets
from jlabel.data import coupled_labels
from tests.amalgamation.scripted import draw_linear, scripted

NAMES = coupled_labels.LABEL_NAMES
SETS = (NAMES[:6], NAMES[2:])  # visible 2 and 3, faint 0 and 1 are shared
SHARED = [2, 3, 4, 5]


@functools.cache
def problem(seed, error, kind="logistic"):
    """Two teachers, unlabelled rows, their true labels in the order of the union, and who was hurt."""
    drawn = coupled_labels.coupled_labels(seed=seed, num_rows=3000)
    cut = coupled_labels.cut_rows(3000, num_teachers=2, seed=seed)
    labels = [
        drawn.labels[rows][:, [NAMES.index(name) for name in names]]
        for rows, names in zip(cut.teachers, SETS, strict=True)
    ]
    hurt = {}
    if error in ("missing", "spurious"):
        damage = coupled_labels.drop_positives if error == "missing" else coupled_labels.add_positives
        labels, hurt, _ = damage(labels, SETS, seed=seed)
    kinds = [LogisticRegression(), DecisionTreeClassifier(random_state=0) if kind == "tree" else LogisticRegression()]
    teachers = {
        name: as_teacher(MultiOutputClassifier(model).fit(drawn.features[rows], part), label_names=names)
        for name, model, rows, part, names in zip("ab", kinds, cut.teachers, labels, SETS, strict=True)
    }
    return teachers, drawn.features[cut.transfer], drawn.labels[cut.transfer], hurt


def wrong(targets, truth):
    return ((targets > 0.5) != truth)[:, SHARED].mean()


def surprise(targets, truth):
    kept = np.clip(targets, 1e-4, 1 - 1e-4)
    return -np.log(np.where(truth == 1, kept, 1 - kept))[:, SHARED].mean()


@pytest.mark.parametrize("error", ["none", "missing", "spurious"])
@pytest.mark.parametrize("seed", [50, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (51, 52, 53))])
def test_repairs_what_believing_positives_breaks(error, seed):
    teachers, rows, truth, _ = problem(seed, error)
    plain = transfer_targets(teachers, rows).targets
    chosen = np.random.default_rng(seed).choice(len(rows), 100, replace=False)
    for labels in ((), (truth[chosen], chosen)):
        trusted = transfer_targets(teachers, rows, trust=earn_trust(teachers, rows, *labels)).targets
        errors, nats = wrong(trusted, truth) - wrong(plain, truth), surprise(trusted, truth) - surprise(plain, truth)
        if error == "spurious":
            assert errors < -0.04
            assert nats < -0.015
        else:
            assert errors < 0.003
            assert nats < 0.003


@pytest.mark.parametrize("error", ["missing", "spurious"])
def test_the_teacher_trained_on_wrong_labels_is_believed_less(error):
    teachers, rows, _, hurt = problem(50, error)
    trust = earn_trust(teachers, rows)
    assert trust.label_names == tuple(NAMES[c] for c in SHARED)
    for label, weights in zip(trust.label_names, trust.weights, strict=True):
        assert weights.argmin() == hurt[label]
        assert weights.sum() == pytest.approx(1)
    assert (trust.bias == 0).all()


def test_labels_unmask_a_teacher_that_is_sure_and_wrong():
    """A tree grown to the end is always sure: its word alone earns it trust, labels take it away."""
    teachers, rows, truth, _ = problem(50, "none", "tree")
    chosen = np.arange(100)
    with_labels = earn_trust(teachers, rows, truth[chosen], chosen)
    assert with_labels.weights[:, 1].max() < earn_trust(teachers, rows).weights[:, 1].min()
    assert with_labels.weights[:, 1].max() < 0.1
    assert with_labels.num_labelled.tolist() == [100] * 4
    plain = transfer_targets(teachers, rows).targets
    assert wrong(transfer_targets(teachers, rows, trust=with_labels).targets, truth) < wrong(plain, truth) - 0.05


def test_information_is_mutual_information_by_enumeration():
    """P(y_c = a, y_u = b) summed row by row over the four outcomes."""
    generator = np.random.default_rng(0)
    mine, other, third = generator.uniform(0.01, 0.99, size=(3, 30))
    yours = generator.uniform(0.01, 0.99, size=30)
    teachers = {
        "a": pd.DataFrame({"c": mine, "u": other}),
        "b": pd.DataFrame({"c": yours, "u": third}),
    }
    trust = earn_trust(teachers, np.zeros((30, 1)))
    mean = expit((logit(other) + logit(third)) / 2)
    for t, probs in enumerate((mine, yours)):
        total = 0.0
        for a in (0, 1):
            for b in (0, 1):
                both = np.mean([(p if a else 1 - p) * (q if b else 1 - q) for p, q in zip(probs, mean, strict=True)])
                alone = np.mean(probs if a else 1 - probs) * np.mean(mean if b else 1 - mean)
                total += both * np.log(both / alone)
        assert trust.information[0, t] == pytest.approx(total, abs=1e-6)
    expected = (trust.information[0] + 0.01) ** 2
    np.testing.assert_allclose(trust.weights[0], expected / expected.sum())


def test_labelled_rows_find_the_largest_posterior():
    """Against a grid over the one free weight and the bias."""
    teachers, rows, truth, _ = problem(50, "spurious")
    chosen = np.arange(60)
    prior = earn_trust(teachers, rows)
    trust = earn_trust(teachers, rows, truth[chosen], chosen)
    for c, label in enumerate(trust.label_names):
        logits = np.stack([t.logits(rows)[chosen, t.label_names.index(label)] for t in teachers.values()])
        y = truth[chosen, SHARED[c]]
        weight, bias = np.meshgrid(np.linspace(0.005, 0.995, 199), np.linspace(-0.5, 0.5, 51), indexing="ij")
        score = weight[..., None] * logits[0] + (1 - weight[..., None]) * logits[1] + bias[..., None]
        loss = (np.logaddexp(0, score) - y * score).sum(-1) + 5 * bias**2
        for part, start in ((weight, prior.weights[c, 0]), (1 - weight, prior.weights[c, 1])):
            loss += 5 * part * np.log(part / start)
        best = np.unravel_index(loss.argmin(), loss.shape)
        assert trust.weights[c, 0] == pytest.approx(weight[best], abs=0.006)
        assert trust.bias[c] == pytest.approx(bias[best], abs=0.011)


def told(label, negative=0.0):
    """Trust in the second of two teachers only."""
    return Trust(
        (label,), ("teacher 0", "teacher 1"), np.array([[0.0, 1.0]]), np.zeros(1), np.ones((1, 2)), np.zeros(1)
    )


def test_a_trusted_negative_is_transferred():
    """With trust in the second teacher its no reaches the first, which revises its other label."""
    first = scripted("cd", [2.0, 1.0], {"c": [-1.0, -3.0]})
    second = scripted("ce", [-0.5, 4.0], {"c": [5.0, 5.0]})
    result = transfer_targets([first, second], np.zeros((2, 1)), trust=told("c"))
    assert result.triples == (("c", 0, 1), ("c", 1, 0))
    assert result.transfers.tolist() == [[False, True]] * 2
    assert result.revised.tolist() == [[True, False]] * 2
    # c: the trusted logit; d: the mean of first and revised; e: as said.
    np.testing.assert_allclose(result.targets, expit([[-0.5, -1.0, 4.0]] * 2), rtol=1e-6)


def test_a_logit_of_zero_is_a_negative_and_is_passed_on():
    first = scripted("cd", [2.0, 1.0], {"c": [-1.0, -3.0]})
    heard = []

    def listen(params, features, initial_logits=None):
        if initial_logits is not None:
            jax.debug.callback(lambda given: heard.append(np.array(given)), initial_logits)
        return first.apply_fn(params, features, initial_logits)

    result = transfer_targets(
        [first._replace(apply_fn=listen), scripted("ce", [0.0, 4.0])], np.zeros((2, 1)), trust=told("c")
    )
    jax.effects_barrier()
    np.testing.assert_array_equal(heard[0][:2], [[0.0, np.nan]] * 2)
    np.testing.assert_allclose(result.targets[:, 0], 0.5)


def test_trust_does_not_depend_on_the_order_of_teachers():
    teachers, rows, truth, _ = problem(50, "spurious")
    trust = earn_trust(teachers, rows, truth[:50], np.arange(50))
    turned = dict(reversed(teachers.items()))
    union = label_union([teacher.label_names for teacher in turned.values()])
    columns = [NAMES.index(name) for name in union]
    other = earn_trust(turned, rows, truth[:50][:, columns], np.arange(50))
    one, two = (transfer_targets(teachers, rows, trust=given).targets for given in (trust, other))
    np.testing.assert_allclose(one, two, atol=1e-5)
    np.testing.assert_allclose(transfer_targets(turned, rows, trust=trust).targets, one[:, columns], atol=1e-6)


def test_three_teachers_and_labels_by_name():
    generator = np.random.default_rng(1)
    models = draw_linear([("a", "b"), ("b", "a"), ("a", "c")], generator)
    rows = pd.DataFrame(generator.normal(size=(20, 3)), index=[f"r{k}" for k in range(20)])
    labels = pd.DataFrame({"a": [1, 0, np.nan]}, index=["r3", "r1", "r0"])
    trust = earn_trust(models, rows, labels)
    assert trust.label_names == ("a", "b")
    assert trust.num_labelled.tolist() == [2, 0]
    assert trust.weights[1, 2] == 0
    assert np.isnan(trust.information[1, 2])
    table = trust.table()
    assert table["labelled_rows"].tolist() == [2, 2, 2, 0, 0]
    assert table["teacher"].tolist() == ["teacher 0", "teacher 1", "teacher 2", "teacher 0", "teacher 1"]
    positions = earn_trust(models, rows.to_numpy(), [[1, np.nan, np.nan], [0, np.nan, np.nan]], [3, 1])
    np.testing.assert_allclose(positions.weights, trust.weights)
    whole = np.full((20, 3), np.nan)
    whole[[3, 1], 0] = [1, 0]
    np.testing.assert_allclose(earn_trust(models, rows.to_numpy(), whole).weights, trust.weights)


def test_nothing_shared_is_nothing_to_trust():
    models = draw_linear([("a",), ("b",)], np.random.default_rng(0))
    trust = earn_trust(models, np.zeros((4, 3)))
    assert trust.label_names == ()
    assert trust.table().empty
    rows = np.ones((4, 3))
    np.testing.assert_array_equal(
        transfer_targets(models, rows, trust=trust).targets, transfer_targets(models, rows).targets
    )
    alone = earn_trust(draw_linear([("a",), ("a",)], np.random.default_rng(0)), rows)
    np.testing.assert_allclose(alone.weights, 0.5)  # there is no other label to agree with


def test_extreme_teachers_keep_trust_finite():
    probs = [pd.DataFrame({"c": column, "d": [0.0, 1.0, 1.0]}) for column in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])]
    trust = earn_trust(probs, np.zeros((3, 1)), [[0, np.nan], [0, np.nan], [0, np.nan]], [0, 1, 2])
    assert np.isfinite(trust.weights).all()
    assert trust.weights[0, 0] > 0.6
    targets = transfer_targets(probs, np.zeros((3, 1)), trust=trust).targets
    assert (targets[:, 0] < 0.1).all()


@pytest.mark.parametrize(
    ("labels", "rows", "message"),
    [
        ([[1, 0, 0.5]], [0], "labels: row 0, label 'c' is 0.5; allowed: 0, 1, NaN"),
        ([[1, 0]], [0], r"labels has 2 columns; the labels are \['a', 'b', 'c'\]"),
        ([[1, 0, 1]], [9], "rows must be numbers of rows, from 0 to 4"),
        ([[1, 0, 1]], [True], "rows must be numbers of rows"),
        ([[1, 0, 1]], None, "labels has 1 rows; features 5"),
        ([[1, 0, 1]], [0, 1], "labels has 1 rows; rows 2"),
        (pd.DataFrame({"pig": [1]}), [0], r"labels has the columns \['pig'\]; no teacher knows them"),
        (pd.DataFrame({"a": [1]}, index=[7]), None, "labels: its index names rows that features do not have"),
        (None, [0], "rows are given without labels"),
    ],
)
def test_refuses_labels(labels, rows, message):
    models = draw_linear([("a", "b"), ("b", "c")], np.random.default_rng(0))
    with pytest.raises(AmalgamationError, match=message):
        earn_trust(models, pd.DataFrame(np.zeros((5, 3))), labels, rows)


def test_refuses_trust_in_other_teachers():
    models = draw_linear([("a", "b"), ("b", "c")], np.random.default_rng(0))
    trust = earn_trust(models, np.zeros((5, 3)))
    with pytest.raises(AmalgamationError, match=r"trust was earned by \['teacher 0', 'teacher 1'\]; the teachers are"):
        transfer_targets({"x": models[0], "y": models[1]}, np.zeros((5, 3)), trust=trust)
    changed = draw_linear([("a", "b"), ("c",)], np.random.default_rng(0))
    with pytest.raises(
        AmalgamationError, match=r"trust was earned on label 'b' by \['teacher 1'\], who do not know it now"
    ):
        transfer_targets(changed, np.zeros((5, 3)), trust=trust)
