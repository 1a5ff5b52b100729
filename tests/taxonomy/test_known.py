import re

import numpy as np
import pytest

from jlabel.taxonomy import TaxonomyError, overlap_relations, relations_by_name

SETS = [[{1, 2, 3, 4}], [{1, 2}, {3}, {9}]]


def test_overlap_by_hand():
    assert overlap_relations(SETS)[0, 1:].tolist() == [0.5, 0.25, 0]
    printed = overlap_relations(SETS, spread="classes")
    np.testing.assert_allclose(printed[0, 1:], [2 / 3, 0.5, 1 / 3])
    assert printed[0].sum() == pytest.approx(1.5)
    published = overlap_relations(SETS, spread="remainder")
    np.testing.assert_allclose(published[0, 1:], [7 / 12, 1 / 3, 1 / 12])
    assert published[0].sum() == pytest.approx(1)


@pytest.mark.parametrize("spread", ["none", "classes", "remainder"])
def test_overlap_the_other_way_and_within(spread):
    found = overlap_relations(SETS, spread=spread)
    covered = {"none": [1, 1, 0], "classes": [1, 1, 1], "remainder": [1, 1, 1]}[spread]
    assert found[1:, 0].tolist() == covered
    assert not found[1:, 1:].any()
    assert found[0, 0] == 0


def test_overlap_of_three_domains_by_counting():
    rng = np.random.default_rng(0)
    sets = []
    for size in (3, 4, 2):
        drawn = rng.permutation(12)[:10]
        sets.append([set(part.tolist()) for part in np.array_split(drawn, size)])
    flat = [(a, concepts) for a, domain in enumerate(sets) for concepts in domain]
    slow = [[len(c & other) / len(c) if a != b else 0 for b, other in flat] for a, c in flat]
    np.testing.assert_allclose(overlap_relations(sets), slow)
    named = [[{f"concept {k}" for k in concepts} for concepts in domain] for domain in sets]
    np.testing.assert_allclose(overlap_relations(named), slow)


def test_bad_sets():
    with pytest.raises(TaxonomyError, match=re.escape("spread is 'even'; allowed: none, classes, remainder")):
        overlap_relations(SETS, spread="even")
    with pytest.raises(TaxonomyError, match="sets hold 1 domains: relations need two or more"):
        overlap_relations(SETS[:1])
    with pytest.raises(TaxonomyError, match=re.escape("sets[1][0] is empty: a class needs concepts")):
        overlap_relations([[{1}], [set()]])
    with pytest.raises(TaxonomyError, match=re.escape("sets[1]: 3 is in classes 0 and 2; a domain's are disjoint")):
        overlap_relations([[{1}], [{3}, {4}, {5, 3}]])


def test_names():
    found = relations_by_name(
        ["a", "b", "c"],
        [["African_elephant", "Crane", "tabby"], ["african  elephant, Loxodonta", "crane bird"], ["crane", "CRANE, x"]],
    )
    edges = {
        (found.labels[i], found.labels[j]): float(found.weights[i, j]) for i, j in np.argwhere(found.edges).tolist()
    }
    assert edges == {
        ("a:African_elephant", "b:african  elephant, Loxodonta"): 1,
        ("b:african  elephant, Loxodonta", "a:African_elephant"): 1,
        ("a:Crane", "c:crane"): 0.5,
        ("a:Crane", "c:CRANE, x"): 0.5,
        ("c:crane", "a:Crane"): 1,
        ("c:CRANE, x", "a:Crane"): 1,
    }


def test_bad_names():
    with pytest.raises(TaxonomyError, match=re.escape("domains are ['a']: relations need two domains or more")):
        relations_by_name(["a"], [["cat"]])
    with pytest.raises(TaxonomyError, match=re.escape("class_names of domain 'b': 'cat' stands at 0 and at 1")):
        relations_by_name(["a", "b"], [["cat"], ["cat", "cat"]])
