"""Choosing the rule by probes."""

import jax
import numpy as np
import pytest

from jlabel.taxonomy import CANDIDATES, Candidate, Fold, TaxonomyError, choose_relations

NAMES = {"domains": ["a", "b"], "class_names": [list("wxyz"), list("WXYZ")]}


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Programs that run for milliseconds are compiled without optimisation."""
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", optimised)


@pytest.fixture(scope="module")
def rows():
    """Two domains of the same four classes, in the flat order 0-3 and 4-7: features, labels."""
    generator = np.random.default_rng(0)
    concepts = np.tile(np.arange(4), 20)
    features = (3 * np.eye(4, 6)[concepts] + 0.1 * generator.standard_normal((80, 6))).astype(np.float32)
    labels = concepts + 4 * (np.arange(80) // 4 % 2)
    return features, labels


def folds(first, second=None):
    """Cross-predictions of a to b, turned around for b to a; a second fold swaps the rows."""
    halves = (np.arange(40), np.arange(40, 80))
    made = [Fold({(0, 1): first, (1, 0): first.T}, *halves)]
    return made if second is None else [*made, Fold({(0, 1): second, (1, 0): second.T}, *halves[::-1])]


def test_false_relations_lose(rows):
    """Cross-predictions that are wrong for every class: merging by them mixes the concepts up, so no relation wins."""
    wrong = 0.8 * np.roll(np.eye(4), 1, axis=1) + 0.05
    candidates = [Candidate("top"), Candidate("threshold", {"threshold": 0.95})]
    found = choose_relations(
        folds(wrong), *rows, candidates=candidates, steps=100, learning_rate=0.03, repeats=2, kind="linear", **NAMES
    )
    assert found.candidate == candidates[1]
    assert found.val_accuracy[0] < 0.8 < found.val_accuracy[1]
    assert found.candidate.find({(0, 1): np.eye(4), (1, 0): np.eye(4)}, **NAMES).edges.sum() == 8
    both = choose_relations(
        folds(wrong, wrong), *rows, candidates=candidates, steps=100, learning_rate=0.03, repeats=1, kind="linear",
        **NAMES,
    )  # fmt: skip
    assert both.candidate == candidates[1]
    assert both.val_accuracy[0] < 0.8 < both.val_accuracy[1]


def test_equal_candidates_give_the_first(rows):
    candidates = [Candidate("density", {"density": 0.6}), Candidate("top")]
    found = choose_relations(
        folds(np.eye(4)), *rows, candidates=candidates, steps=100, learning_rate=0.03, repeats=2, kind="linear", **NAMES
    )
    assert str(found.candidate) == "density 0.6"
    np.testing.assert_allclose(found.val_accuracy, [1, 1], atol=1e-6)


def test_candidates():
    assert [str(one) for one in CANDIDATES[:2]] == ["threshold 0.1", "threshold 0.2"]
    assert len({str(one) for one in CANDIDATES}) == len(CANDIDATES)


def test_bad_input(rows):
    cross = folds(np.eye(4))
    with pytest.raises(TaxonomyError, match="candidates is empty: give at least one rule"):
        choose_relations(cross, *rows, candidates=[], **NAMES)
    with pytest.raises(TaxonomyError, match="folds is empty: give at least one Fold"):
        choose_relations([], *rows, **NAMES)
    with pytest.raises(TaxonomyError, match=r"repeats is 0; allowed: whole numbers from 1"):
        choose_relations(cross, *rows, repeats=0, **NAMES)
    with pytest.raises(TaxonomyError, match=r"threshold is 2; allowed: above 0, up to 1"):
        choose_relations(cross, *rows, candidates=[Candidate("threshold", {"threshold": 2})], **NAMES)


def test_probes_of_unlike_sizes_are_trained_apart(rows, monkeypatch):
    """Four universal classes against eight: the same accuracies, whether they are trained together or not."""
    options = {
        "candidates": [Candidate("top"), Candidate("threshold", {"threshold": 0.95})],
        "steps": 20, "repeats": 1, "kind": "linear",
    }  # fmt: skip
    together = choose_relations(folds(0.8 * np.eye(4) + 0.05), *rows, **options, **NAMES)
    monkeypatch.setattr("jlabel.taxonomy.choose._FEW", 4)
    apart = choose_relations(folds(0.8 * np.eye(4) + 0.05), *rows, **options, **NAMES)
    assert 0 < together.val_accuracy[0] != together.val_accuracy[1]
    np.testing.assert_allclose(apart.val_accuracy, together.val_accuracy, atol=1e-6)
