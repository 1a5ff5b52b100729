"""What credit="certain" is for: an attribute that the label leaves open keeps its meaning."""

import functools

import jax
import numpy as np
import optax
import pytest

from jlabel.data import load_graph
from jlabel.data.drawn_pets import BREEDS, COAT, EARS, HAIR, MUZZLE, SPECIES
from jlabel.label_graph import (
    PathDecoder,
    build_graph,
    label_graph_loss,
    label_log_probs,
    node_log_probs,
    plan_paths,
)
from jlabel.training import ArrayBatches, fit


def attribute_rows(count, seed, noise):
    """Rows of the drawn breeds as noisy attribute vectors: features, breed, true coat."""
    rng = np.random.default_rng(seed)
    breed = rng.integers(0, len(BREEDS), count)
    fixed = np.array([-1 if b.coat is None else COAT.index(b.coat) for b in BREEDS])[breed]
    coat = np.where(fixed < 0, rng.integers(0, len(COAT), count), fixed)
    values = [(SPECIES, "species"), (EARS, "ears"), (HAIR, "hair"), (MUZZLE, "muzzle")]
    columns = [np.eye(len(names))[[names.index(getattr(BREEDS[b], field)) for b in breed]] for names, field in values]
    features = np.concatenate([*columns, np.eye(len(COAT))[coat]], axis=1)
    return (features + noise * rng.normal(size=features.shape)).astype(np.float32), breed, coat


@pytest.mark.slow
def test_certain_credit_sees_free_coats_better_than_all_at_equal_accuracy():
    """Three seeds, exact marginal: both credits name the breed, and only one keeps its eye on the coat."""
    plan = plan_paths(build_graph(load_graph("drawn_pets")))
    graph, module = plan.graph, PathDecoder(plan.graph.num_nodes, hidden=64)
    labels = graph.label_set("drawn_pets").labels
    place = np.array([labels.index(b.name) for b in BREEDS])
    free = np.array([b.coat is None for b in BREEDS])
    coats = np.array([[graph.ids.index(f"{b.species}.{name}") for name in COAT] for b in BREEDS])
    right, accuracy = {}, {}
    for credit in ("certain", "all"):
        loss = functools.partial(
            label_graph_loss, apply_fn=module.apply, plan=plan, objective="marginal", credit=credit
        )  # fmt: skip
        predict = jax.jit(
            lambda p, x: (
                label_log_probs(module.apply, p, x, plan, "drawn_pets"),
                node_log_probs(module.apply, p, x, plan),
            )
        )
        for seed in range(3):
            x, breed, _ = attribute_rows(1200, seed, 0.3)
            target = plan.targets("drawn_pets", place[breed])
            batches = ArrayBatches({"features": x, "target": target}, batch_size=64)
            result = fit(
                loss, module.init(jax.random.key(seed), x[:1]), batches, optimizer=optax.adamw(3e-3), steps=1500,
                key=jax.random.key(seed), log_every=1500,
            )  # fmt: skip
            x, breed, coat = attribute_rows(3000, 100 + seed, 0.3)
            found, nodes = map(np.asarray, predict(result.params, x))
            rows = free[breed]
            seen = np.take_along_axis(nodes, coats[breed], axis=1).argmax(1)
            right[credit, seed] = (seen == coat)[rows].mean()
            accuracy[credit, seed] = (found.argmax(1) == place[breed]).mean()
    print({key: round(float(value), 3) for key, value in right.items()}, accuracy)
    for seed in range(3):
        assert abs(accuracy["certain", seed] - accuracy["all", seed]) < 0.01
        assert right["certain", seed] > right["all", seed] + 0.02
        assert right["all", seed] > 0.5  # chance is a third
