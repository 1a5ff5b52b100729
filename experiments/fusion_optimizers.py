"""Optimizers of the fusion studies: from scratch, on frozen features, and for a pretrained encoder."""

import functools
from typing import Any

import jax
import optax
import optax.contrib

from jlabel.networks import layer_decay

__all__ = ["HEAD_FACTOR", "fine_tuner", "optimizer_for", "scratch_optimizer"]

HEAD_FACTOR = 20.0  # learning rate of a new head over that of the pretrained encoder below it
ADAM_SHARE = 0.3  # learning rate of Adam over Muon's, for what is no kernel


def optimizer_for(
    learning_rate: Any, weight_decay: Any, steps: int, *, averaged: bool = False, frozen: bool = False
) -> optax.GradientTransformation:
    """Muon, or NovoGrad on frozen features, with a warm-up and a cosine decay; an average of rewards under plain SGD.

    Muon turns the update of each kernel into an orthogonal matrix: from scratch, the drawn pets get as far in 300 steps
    (.81 at rate .03) as with AdamW in 600 (.81 at rate .01). On frozen features NovoGrad scales a layer as a whole: few
    rows in many dimensions leave most directions unseen, and scaling each weight (Adam) or each direction (Muon) by
    itself fills these with noise.

    Args:
      learning_rate, weight_decay: numbers, traced or not. steps: of the run. averaged: parameters hold
        ``reward_average``. frozen: the head stands on fixed features.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Ginsburg et al. 2019, arXiv:1905.11286.
    """
    warm = max(1, steps // 20)
    scale = optax.join_schedules(
        [optax.linear_schedule(0.1, 1.0, warm), optax.cosine_decay_schedule(1.0, max(1, steps - warm))], [warm]
    )

    def rate(step: jax.typing.ArrayLike) -> Any:
        return learning_rate * scale(step)

    if frozen:
        main = optax.chain(
            optax.clip_by_global_norm(5.0),
            optax.scale_by_novograd(b1=0.9, b2=0.99),
            optax.add_decayed_weights(weight_decay, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
            optax.scale_by_learning_rate(rate),
        )
    else:
        main = optax.contrib.muon(
            rate, weight_decay=weight_decay, consistent_rms=0.2, muon_weight_dimension_numbers=_kernel_axes,
            adam_learning_rate=lambda step: ADAM_SHARE * rate(step),
        )  # fmt: skip
    if not averaged:
        return main
    return optax.multi_transform(
        {"main": main, "average": optax.sgd(0.1)},
        lambda params: jax.tree_util.tree_map_with_path(
            lambda path, _: "average" if any(getattr(k, "key", None) == "reward_average" for k in path) else "main",
            params,
        ),
    )


def _kernel_axes(params: Any) -> Any:
    """Inputs and outputs of each kernel; None for what Muon leaves to Adam (scales, biases, embeddings)."""

    def axes(path: Any, leaf: Any) -> Any:
        if getattr(path[-1], "key", None) != "kernel":
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree_util.tree_map_with_path(axes, params)


@functools.cache
def scratch_optimizer(rate: float, decay: float, steps: int, averaged: bool, accumulate: int) -> Any:
    """`optimizer_for` of so many batches a step; cached, so that runs of one setting compile once."""
    return _accumulated(optimizer_for(rate, decay, steps, averaged=averaged), accumulate)


def _accumulated(optimizer: optax.GradientTransformation, every: int) -> Any:
    """One update for the mean gradient of so many batches."""
    return optimizer if every == 1 else optax.MultiSteps(optimizer, every).gradient_transformation()


@functools.cache
def fine_tuner(rate: float, decay: float, steps: int, averaged: bool, layer_rates: float, accumulate: int) -> Any:
    """AdamW for a pretrained encoder, slower towards its first layers; its head, which is new, learns faster."""
    warm = max(1, steps // 10)
    scale = optax.join_schedules(
        [optax.linear_schedule(1 / warm, 1.0, warm), optax.linear_schedule(1.0, 0.0, max(1, steps - warm))], [warm]
    )

    def label(path: Any, leaf: Any) -> str:
        if any(getattr(k, "key", None) == "reward_average" for k in path):
            return "average"
        return {"mean": "fixed", "scale": "fixed"}.get(path[0].key, path[0].key)

    def multiply(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factors = layer_decay(updates, layer_rates) if layer_rates < 1 else None
        return (updates if factors is None else jax.tree.map(lambda u, f: u * f, updates, factors)), state

    def adam(factor: float) -> optax.GradientTransformation:
        return optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.scale_by_adam(),
            optax.add_decayed_weights(decay, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
            optax.scale_by_learning_rate(lambda step: factor * rate * scale(step)),
        )

    parts = {"encoder": adam(1.0), "head": adam(HEAD_FACTOR), "fixed": optax.set_to_zero()}
    if averaged:
        parts["average"] = optax.sgd(0.1)
    main = optax.multi_transform(parts, lambda params: jax.tree_util.tree_map_with_path(label, params))
    return _accumulated(
        optax.chain(main, optax.GradientTransformation(lambda params: optax.EmptyState(), multiply)), accumulate
    )
