import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.networkx_taxonomy import restart_taxonomy
from jlabel.taxonomy import Relations, TaxonomyError, build_taxonomy, universal
from tests.taxonomy.toy import classes, random_relations, related

SIZES = st.sampled_from([(2, 2), (1, 4), (3, 3, 3), (4, 3, 2), (2, 2, 2, 2)])
SEEDS = st.integers(0, 2**32 - 1)
DENSITIES = st.sampled_from([0.15, 0.4, 0.9])


def test_a_class_within_another():
    assert classes(build_taxonomy(related({("a0", "b0"): 0.8}))) == {("a0", "b0"): (0.8, 0.8), ("b0",): (1.0,)}


@pytest.mark.parametrize("merge", ["clique", "pair"])
def test_mutual_edges_have_the_mean_weight(merge):
    found = build_taxonomy(related({("a0", "b0"): 0.8, ("b0", "a0"): 0.6}), merge=merge)
    assert classes(found) == {("a0", "b0"): pytest.approx((0.7, 0.7), abs=1e-15)}


def test_three_mutual_domains_are_one_class_or_three_pairs():
    edges = {("a0", "b0"): 0.1, ("b0", "a0"): 0.2, ("a0", "c0"): 0.3, ("c0", "a0"): 0.4, ("b0", "c0"): 0.5}
    relations = related(edges | {("c0", "b0"): 0.6}, (1, 1, 1))
    assert classes(build_taxonomy(relations)) == {("a0", "b0", "c0"): pytest.approx((0.35,) * 3)}
    pairs = classes(build_taxonomy(relations, merge="pair"))
    assert pairs == {
        ("a0", "b0"): pytest.approx((0.15,) * 2),
        ("a0", "c0"): pytest.approx((0.35,) * 2),
        ("b0", "c0"): pytest.approx((0.55,) * 2),
    }


def test_cliques_that_share_an_edge_are_both_made():
    edges = {("a0", "b0"): 0.4, ("a0", "c0"): 0.7, ("b0", "c0"): 0.7, ("a0", "c1"): 0.1, ("b0", "c1"): 0.1}
    relations = related(edges | {(b, a): weight for (a, b), weight in edges.items()}, (1, 1, 2))
    assert classes(build_taxonomy(relations)) == {
        ("a0", "b0", "c0"): pytest.approx((0.6,) * 3),
        ("a0", "b0", "c1"): pytest.approx((0.2,) * 3),
    }


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # a0 -> b0 is dropped: a0 stands alone, b0 lies within a1
        (0.7, 0.9, {("a0",): (1.0,), ("a1", "b0"): (0.9, 0.9), ("a1",): (1.0,)}),
        # on a tie the second edge is dropped: a0 lies within b0, a1 stands alone
        (0.9, 0.9, {("a0", "b0"): (0.9, 0.9), ("b0",): (1.0,), ("a1",): (1.0,)}),
        (0.9, 0.7, {("a0", "b0"): (0.9, 0.9), ("b0",): (1.0,), ("a1",): (1.0,)}),
    ],
)
def test_a_path_into_its_own_domain_loses_the_weaker_edge(first, second, expected):
    found = build_taxonomy(related({("a0", "b0"): first, ("b0", "a1"): second}, (2, 1)))
    assert classes(found) == expected


def test_the_weakest_edge_of_all_paths_goes_first():
    # b0 -> a1 (.3) goes before a1 -> b1 (.5) is looked at, so a0 -> b0 (.4) and a1 -> b1 both stay
    edges = {("a0", "b0"): 0.4, ("b0", "a1"): 0.3, ("a1", "b1"): 0.5}
    found = classes(build_taxonomy(related(edges, (2, 2))))
    assert found == {
        ("a0", "b0"): (0.4, 0.4),
        ("b0",): (1.0,),
        ("a1", "b1"): (0.5, 0.5),
        ("b1",): (1.0,),
    }


@given(SIZES, SEEDS, DENSITIES, st.sampled_from([0, 1, 3]), st.sampled_from(["clique", "pair"]))
@settings(max_examples=150, deadline=None)
def test_equals_restarting_after_each_change(sizes, seed, density, levels, merge):
    relations = random_relations(seed, sizes, density, levels)
    expected = restart_taxonomy(relations.weights, np.repeat(np.arange(len(sizes)), sizes), merge)
    taxonomy = build_taxonomy(relations, merge=merge)
    starts = relations.starts
    assert [tuple(starts[a] + i for a, i in members) for members in taxonomy.members] == list(expected)
    for u, members in enumerate(taxonomy.members):
        weights = [taxonomy.weights[a][i, u] for a, i in members]
        np.testing.assert_allclose(weights, list(expected[tuple(starts[a] + i for a, i in members)].values()))


@given(SIZES, SEEDS, DENSITIES, st.sampled_from(["clique", "pair"]))
@settings(max_examples=80, deadline=None)
def test_permuting_domains_and_classes_permutes_the_taxonomy(sizes, seed, density, merge):
    relations = random_relations(seed, sizes, density)
    rng = np.random.default_rng(seed)
    domains = rng.permutation(len(sizes)).tolist()
    within = [rng.permutation(size).tolist() for size in sizes]
    flat = np.array([relations.starts[d] + i for d in domains for i in within[d]])
    permuted = Relations(
        tuple(relations.domains[d] for d in domains),
        tuple(tuple(relations.class_names[d][i] for i in within[d]) for d in domains),
        relations.weights[np.ix_(flat, flat)],
    )
    assert classes(build_taxonomy(permuted, merge=merge)) == classes(build_taxonomy(relations, merge=merge))


@given(SIZES, SEEDS, DENSITIES, st.sampled_from([0, 2]), st.sampled_from(["clique", "pair"]))
@settings(max_examples=80, deadline=None)
def test_each_class_has_a_universal_class_and_none_holds_two_of_a_domain(sizes, seed, density, levels, merge):
    relations = random_relations(seed, sizes, density, levels)
    taxonomy = build_taxonomy(relations, merge=merge)
    assert taxonomy.members == tuple(sorted(set(taxonomy.members)))
    for members in taxonomy.members:
        assert len({a for a, _ in members}) == len(members)
    for a, weights in enumerate(taxonomy.weights):
        assert weights.shape == (sizes[a], taxonomy.num_classes)
        assert weights.dtype == np.float64
        assert (weights.max(1) > 0).all()
        held = {(i, u) for u, members in enumerate(taxonomy.members) for domain, i in members if domain == a}
        assert set(map(tuple, np.argwhere(weights > 0).tolist())) == held
        assert {(i, u) for u, i in enumerate(taxonomy.owners[a].tolist()) if i >= 0} == held
    if len(sizes) == 2:
        assert classes(taxonomy) == classes(build_taxonomy(relations, merge="pair"))


def test_names_and_order():
    relations = Relations(("pets", "b"), (("dog", "cat"), ("boat", "pug")), np.zeros((4, 4)))
    taxonomy = build_taxonomy(relations)
    assert taxonomy.names == ("pets: dog", "pets: cat", "b: boat", "b: pug")
    assert taxonomy.num_classes == 4
    assert taxonomy.members == (((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),))
    with pytest.raises(ValueError, match="read-only"):
        taxonomy.weights[0][0, 0] = 2.0


def test_bad_merge_and_too_many_cliques(monkeypatch):
    relations = random_relations(0, (4, 4, 4), 1.0)
    with pytest.raises(TaxonomyError, match="merge is 'all'; choose 'clique' or 'pair'"):
        build_taxonomy(relations, merge="all")
    assert build_taxonomy(relations).num_classes == 64
    monkeypatch.setattr(universal, "_MOST_CLIQUES", 5)
    with pytest.raises(
        TaxonomyError,
        match=r"more than 60 cliques of mutual edges \(48 pairs among 12 classes\); choose a stricter rule",
    ):
        build_taxonomy(relations)
    monkeypatch.setattr(universal, "_MOST_CLIQUES", 1)
    assert build_taxonomy(relations, merge="pair").num_classes == 48
