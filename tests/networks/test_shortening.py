import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel import InputError
from jlabel.networks import encoder, length_buckets, shorten_batches, text_encoder


def ids_of(lengths, width) -> np.ndarray:
    return np.where(np.arange(width) < np.asarray(lengths)[:, None], 1 + np.arange(width) % 3, 0).astype(np.int32)


def test_buckets_are_those_that_rows_need_and_each_row_has_the_smallest():
    # Of 100 rows 60 have 10 tokens, 3 have 30 (too few for a bucket), 30 have 60, 7 have 200.
    own = np.repeat([10, 30, 60, 200], [60, 3, 30, 7])
    lengths, bucket = length_buckets(ids_of(own, 300))
    assert lengths == (16, 64, 256)
    np.testing.assert_array_equal(bucket, np.repeat([0, 1, 1, 2], [60, 3, 30, 7]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=30), st.integers(70, 90))
def test_every_row_fits_its_bucket(own, width):
    lengths, bucket = length_buckets(ids_of(own, width))
    assert list(lengths) == sorted(set(lengths))
    assert (np.asarray(lengths)[bucket] >= own).all()
    assert max(lengths) <= width


@pytest.mark.parametrize("longest", [2, 4, 5, 9])
@pytest.mark.slow
def test_a_shortened_batch_has_the_features_and_gradients_of_the_whole(longest):
    net = text_encoder("lstm", texts=["a b c", "a b c"], dim=6, embedding_dim=4)
    params = net.init(jax.random.key(0))
    ids = ids_of([1, longest, 2], 9)
    short = shorten_batches(net, (2, 4))
    np.testing.assert_allclose(short.apply(params, ids), net.apply(params, ids), atol=1e-6)
    grads = [jax.jit(jax.grad(lambda p, n=n: (n.apply(p, ids) ** 2).sum()))(params) for n in (short, net)]
    for one, other in zip(*map(jax.tree.leaves, grads), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("longest", "read"), [(0, 4), (3, 4), (5, 8), (8, 8), (9, 20), (20, 20)])
def test_it_reads_no_further_than_the_longest_row_needs(longest, read):
    def apply(params, ids):
        return jnp.full((len(ids), 1), ids.shape[1], jnp.float32)

    telling = dataclasses.replace(text_encoder("lstm", texts=["a a"], dim=2, embedding_dim=2), apply=apply)
    short = shorten_batches(telling, (4, 8))
    assert short.apply({}, ids_of([0, longest], 20)).ravel().tolist() == [read, read]


def test_bad_input():
    with pytest.raises(InputError, match="shorten_batches takes an encoder of texts, got one of kind 'features'"):
        shorten_batches(encoder("identity", dim=3), (4,))
    with pytest.raises(InputError, match=r"ids have the shape \[0, 5\]"):
        length_buckets(np.zeros((0, 5), np.int32))
