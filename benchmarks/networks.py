"""One training step of ResNet-18 and EfficientNet-Lite0 against PyTorch: `python -m benchmarks.networks`.

Forward, backward and AdamW update on the same pictures from the same weights; equal losses are asserted first, then
the sides are timed in turns. Needs `pip install -r benchmarks/requirements.txt`; each thread count gets a process of
its own, pinned to so many cores. About ten minutes on two idle cores; `--quick` takes one. On a busy machine PyTorch's
threads wait for each other and its times explode: use `--threads=1 --clock=cpu` there, or do not believe the ratio.

The floor: a step does 3 x 2 x (multiply-adds of the convolutions) floating point operations (forward, gradient of the
input, gradient of the kernel) and moves at least 6 x 4 bytes for each number a convolution writes (out and in again
forward, the same for its gradient, and once more each for the kernel gradient). "floor" is the larger of the two over
the measured speed of a 1024 x 1024 float32 matrix product and of a large copy; "x floor" is our time over it.

PyTorch is timed in its default layout and in `channels_last`; the ratio is to the faster one. "folded" is fine-tuning
with frozen statistics: PyTorch keeps batch norm in inference mode, we have folded it into the convolutions.
"""

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.timing import compare, core_count, markdown_table, pin_threads, ratio, run_benchmark

# network, norm, side in pixels, batch
CASES = (
    ("resnet18", "group", 64, 32),
    ("resnet18", "batch", 64, 32),
    ("efficientnet_lite0", "batch", 64, 32),
    ("efficientnet_lite0", "folded", 64, 32),
    ("resnet18", "group", 224, 8),
    ("efficientnet_lite0", "batch", 224, 8),
    ("efficientnet_lite0", "folded", 224, 8),
)
BATCHES = (
    ("resnet18", "group", 64, 8),
    ("resnet18", "group", 64, 128),
    ("efficientnet_lite0", "folded", 64, 8),
    ("efficientnet_lite0", "folded", 64, 128),
)
QUICK = (("resnet18", "group", 64, 16), ("efficientnet_lite0", "folded", 64, 16))
CLASSES = 37
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-2


def _our_step(name: str, norm: str, images: Any, labels: Any) -> tuple[Callable[[], float], dict[str, Any]]:
    """A call that makes one step and returns the loss before it; and the first parameters."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from jlabel.networks import EfficientNetLite, ResNet18

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            network: Any = ResNet18 if name == "resnet18" else EfficientNetLite
            net = network(norm=norm, name="network")
            return nn.Dense(CLASSES, name="classifier")(net(x, train=True))

    x, y = jnp.asarray(images), jnp.asarray(labels)
    variables = dict(jax.jit(Net().init)(jax.random.key(0), x))
    params = variables.pop("params")
    optimizer = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def loss_fn(params: Any, state: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        logits, state = Net().apply({"params": params, **state}, x, mutable=list(state))
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean(), state

    @jax.jit
    def step(carry: Any, x: jax.Array, y: jax.Array) -> Any:
        params, state, moments = carry
        (loss, state), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, state, x, y)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), state, moments), loss

    carry = [(params, variables, optimizer.init(params))]

    def call() -> float:
        carry[0], loss = jax.block_until_ready(step(carry[0], x, y))
        return float(loss)

    return call, jax.tree.map(np.asarray, params)


def _torch_step(name: str, norm: str, images: Any, labels: Any, params: Any, layout: str) -> tuple[Any, Any, Any]:
    """The same in PyTorch; also the module and its input, for counting."""
    import torch

    from benchmarks.torch_networks import Classifier, EfficientNetLite0, ResNet18, copy_weights

    model = Classifier(ResNet18(norm) if name == "resnet18" else EfficientNetLite0(norm), CLASSES)
    copy_weights(model, params)
    x, y = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels).long()
    if layout == "channels_last":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def call() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return call, model, x


def _machine_speed(clock: Callable[[], float]) -> tuple[float, float]:
    """Floating point operations a second of a matrix product, and bytes a second of a copy (read and written)."""
    import numpy as np
    import torch

    a, b = torch.ones(1024, 1024), torch.ones(1024, 1024)
    source, target = np.ones(1 << 25, np.float32), np.empty(1 << 25, np.float32)
    times = compare({"matmul": lambda: a @ b, "copy": lambda: np.copyto(target, source)}, repeats=20, clock=clock)
    return 2 * 1024**3 / times["matmul"].low, 2 * source.nbytes / times["copy"].low


def measure(*, quick: bool, threads: int, repeats: int, clock: Callable[[], float]) -> list[list[object]]:
    """Rows of the table for one thread count; the process must not have imported JAX or PyTorch before."""
    cases = QUICK if quick else CASES + (BATCHES if threads == core_count() else ())
    pin_threads(threads)
    import numpy as np
    import torch

    from benchmarks.torch_networks import count_work

    torch.set_num_threads(threads)
    flops, bandwidth = _machine_speed(clock)
    rows: list[list[object]] = []
    for name, norm, size, batch in cases:
        rng = np.random.default_rng(0)
        images = rng.normal(size=(batch, size, size, 3)).astype(np.float32)
        labels = rng.integers(0, CLASSES, batch).astype(np.int32)
        ours, params = _our_step(name, norm, images, labels)
        plain, model, x = _torch_step(name, norm, images, labels, params, "contiguous")
        last, _, _ = _torch_step(name, norm, images, labels, params, "channels_last")
        losses = [ours(), plain(), last()]
        if max(losses) - min(losses) > 1e-4 * max(losses):
            raise SystemExit(f"{name} {norm} {size} px: the losses differ: {losses}")
        multiply_adds, written = count_work(model, x)
        floor = max(6 * multiply_adds / flops, 24 * written / bandwidth)
        times = compare({"ours": ours, "plain": plain, "last": last}, repeats=repeats, clock=clock)
        best = min(times["plain"], times["last"], key=lambda t: t.median)
        relative = ratio(times["ours"], best)
        rows.append([
            f"{name}, {norm}", size, batch, threads, times["ours"].median * 1e3, times["plain"].median * 1e3,
            times["last"].median * 1e3, f"{relative.median:.2f} ({relative.low:.2f} to {relative.high:.2f})",
            batch / times["ours"].median, times["ours"].median / floor,
        ])  # fmt: skip
        print(f"{rows[-1]}", file=sys.stderr, flush=True)
    return rows


HEADERS = (
    "network", "px", "batch", "threads", "ours ms", "PyTorch ms", "channels_last ms", "ratio (quartiles)",
    "our images/s", "x floor",
)  # fmt: skip


def main() -> None:
    """Run every thread count in a process of its own and print the table."""
    found = run_benchmark("benchmarks.networks", __doc__, measure, quick="two small cases, one minute", repeats=10)
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
