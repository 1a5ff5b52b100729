import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.taxonomy import (
    Relations,
    TaxonomyError,
    add_domain,
    build_taxonomy,
    edit_relations,
    taxonomy_from_spec,
    taxonomy_spec,
)
from tests.taxonomy.toy import classes, random_relations, related


def first_domains(relations, count):
    """The relations among the first so many domains."""
    total = relations.starts[count]
    return Relations(relations.domains[:count], relations.class_names[:count], relations.weights[:total, :total])


def test_forbidden_and_forced_edges():
    relations = related({("a0", "b0"): 0.8, ("b0", "a0"): 0.6, ("a1", "b1"): 0.5}, (2, 2))
    edited = edit_relations(relations, forbid=[("a:0", "b:0"), ("b:1", "a:0")], force=[("b: 1", ("a", "1"))])
    assert edited.block(0, 1).tolist() == [[0, 0], [0, 0.5]]
    assert edited.block(1, 0).tolist() == [[0.6, 0], [0, 1.0]]
    assert relations.block(0, 1).tolist() == [[0.8, 0], [0, 0.5]]
    assert classes(build_taxonomy(edited)) == {
        ("a0", "b0"): (0.6, 0.6),
        ("a0",): (1.0,),
        ("a1", "b1"): (0.75, 0.75),
    }


def test_a_forced_edge_survives_an_equal_one():
    # of a0 -> b0 -> a1, both 1, the second would go
    relations = related({("a0", "b0"): 1.0, ("b0", "a1"): 0.4}, (2, 1))
    edited = edit_relations(relations, force=[(("b", 0), (0, 1))])
    assert classes(build_taxonomy(edited)) == {("a1", "b0"): (1.0, 1.0), ("a1",): (1.0,), ("a0",): (1.0,)}
    # mutual edges are on no such path
    both = edit_relations(related({("b0", "a0"): 1.0, ("a0", "b0"): 1.0}, (2, 1)), force=[("b:0", "a:1")])
    assert classes(build_taxonomy(both)) == {("a0", "b0"): (1.0, 1.0), ("a1", "b0"): (1.0, 1.0), ("a1",): (1.0,)}


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1]))
@settings(max_examples=50, deadline=None)
def test_a_forced_edge_is_always_in_the_taxonomy(seed, levels):
    relations = random_relations(seed, (3, 2, 3), levels=levels)
    edited = edit_relations(relations, force=[("d0:0-1", "d1:1-0")])
    assert any({(0, 1), (1, 0)} <= set(members) for members in build_taxonomy(edited).members)
    parted = edit_relations(relations, forbid=[("d0:0-1", "d1:1-0"), ("d1:1-0", "d0:0-1")])
    assert not any({(0, 1), (1, 0)} <= set(members) for members in build_taxonomy(parted).members)


def test_names_with_colons():
    names = (("x", "y:z"), ("z", "u"), ("v",))
    relations = Relations(("a", "a:y", "b"), names, np.zeros((5, 5)))
    assert edit_relations(relations, force=[("a:x", "b:v")]).weights[0, 4] == 1
    with pytest.raises(TaxonomyError, match=r"'a:y:z' can be read in 2 ways; give a \(domain, class\) tuple"):
        edit_relations(relations, force=[("a:y:z", "b:v")])
    assert edit_relations(relations, force=[(("a:y", "z"), "b:v")]).weights[2, 4] == 1


@pytest.mark.parametrize(
    ("forbid", "force", "message"),
    [
        ([("a:0", "c:0")], [], r"'c:0' is no 'domain:class' of these relations \(nearest: '[ab]:0'\)"),
        ([("a:0", ("b", "9"))], [], "unknown class of domain 'b': '9'"),
        ([("a:0", ("b", 7))], [], "unknown class of domain 'b': 7; allowed: a name, or 0 to 1"),
        ([("a:0", ("B", "0"))], [], "unknown domain: 'B'"),
        ([("a:0", (-1, "0"))], [], "unknown domain: -1; allowed: a name, or 0 to 1"),
        ([("a:0", (None, "0"))], [], "unknown domain: None; allowed: a name, or 0 to 1"),
        ([("a:0", 1)], [], r"1 is neither 'domain:class' nor \(domain, class\)"),
        ([3], [], r"3 is not a pair of classes such as"),
        ([("a:0", ("b",))], [], r"\('b',\) is neither 'domain:class' nor \(domain, class\)"),
        ([("a:0", "a:1")], [], "'a:0' -> 'a:1': both are of domain 'a'; give two domains"),
        (["a:0"], [], r"'a:0' is not a pair of classes such as"),
        ([("a:0", "b:0")], [("a:0", "b:0")], "'a:0' -> 'b:0' is both forbidden and forced"),
        ([], [("a:0", "b:0"), ("b:0", "a:1")], "'a:0' -> 'b:0' and 'b:0' -> 'a:1' cannot both be forced"),
        ([], [("b:0", "a:1"), ("a:0", "b:0")], "'b:0' -> 'a:1' and 'a:0' -> 'b:0' cannot both be forced"),
    ],
)
def test_edits_that_cannot_be_made(forbid, force, message):
    with pytest.raises(TaxonomyError, match=message):
        edit_relations(related({}, (2, 2)), forbid=forbid, force=force)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]), st.sampled_from([0, 2]), st.sampled_from(["clique", "pair"]))
@settings(max_examples=100, deadline=None)
def test_a_later_domain_changes_no_number(seed, count, levels, merge):
    relations = random_relations(seed, (3, 3, 2, 3), levels=levels)
    old = build_taxonomy(first_domains(relations, count), merge=merge)
    new = add_domain(old, relations, merge=merge)
    for before, after in zip(old.members, new.members, strict=False):
        assert tuple(member for member in after if member[0] < count) == before
    assert classes(new) == classes(build_taxonomy(relations, merge=merge))


def test_the_heaviest_of_several_takes_the_number():
    edges = {("a0", "c0"): 0.4, ("c0", "a0"): 0.4, ("a0", "c1"): 0.9, ("c1", "a0"): 0.7}
    new = add_domain(build_taxonomy(related({}, (1, 1))), related(edges, (1, 1, 2)))
    assert new.names == ("a: 0 + c: 1", "b: 0", "a: 0 + c: 0")
    assert new.weights[0].tolist() == [[0.8, 0.0, 0.4]]


def test_what_was_edited_by_hand_stays():
    spec = taxonomy_spec(build_taxonomy(related({("a0", "b0"): 0.8, ("b0", "a0"): 0.6, ("a1", "b1"): 1.0}, (2, 2))))
    assert [one["name"] for one in spec["universal_classes"]] == ["a: 0 + b: 0", "a: 1 + b: 1", "b: 1"]
    spec["universal_classes"][0]["members"] = {"a": {"0": 1.0}}  # parted
    spec["universal_classes"].append({"members": {"b": {"0": 1.0}}})
    spec["universal_classes"][1]["members"]["a"] = {"1": 0.25}  # another weight
    edges = {("a0", "b0"): 0.8, ("b0", "a0"): 0.6, ("a1", "b1"): 1.0, ("b0", "c0"): 0.9, ("c0", "b0"): 0.9}
    new = add_domain(taxonomy_from_spec(spec), related(edges, (2, 2, 2)))
    assert new.names == ("a: 0", "a: 1 + b: 1", "b: 1", "b: 0 + c: 0", "c: 1")
    assert new.weights[0].tolist() == [[1, 0, 0, 0, 0], [0, 0.25, 0, 0, 0]]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 2), r"relations have no domain that is not in the taxonomy, \['a', 'b'\]"),
        ((2, 2, 1), "domain 'a' has other classes in relations than in the taxonomy"),
    ],
)
def test_a_domain_that_cannot_be_added(sizes, message):
    taxonomy = build_taxonomy(related({}, (1, 2)))
    with pytest.raises(TaxonomyError, match=message):
        add_domain(taxonomy, related({}, sizes))


def test_old_domains_come_first():
    taxonomy = build_taxonomy(related({}, (1, 2)))
    relations = Relations(("b", "a", "c"), (("0", "1"), ("0",), ("0",)), np.zeros((4, 4)))
    with pytest.raises(TaxonomyError, match=r"the taxonomy's, \['a', 'b'\], must come first and in this order"):
        add_domain(taxonomy, relations)
