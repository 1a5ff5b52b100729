"""A label chain's training step and the scene student's epoch against PyTorch: `python -m benchmarks.amalgamation`.

(a) The chain with D = H = 512 on a batch of 128, L labels in L steps: forward, and a training step (forward, backward,
Adam), against `LSTMCell` in a Python loop with the same parameters; losses, before and after the steps, are compared
first. Steps are taken four at a time, ours in one program, as training takes them. Goal: 2 times from L = 14, forward
2.5 times.

(b) The scene student: 541 rows of 294 features, six labels, two teachers of four, H = 16 (the second teacher 32),
batch 8. The peer asks the teachers again for each row each time it is seen, as the method is told, row by row in
PyTorch. Ours is ANT's targets once, and four students side by side; the time is that of an epoch and a student, with
the targets' time spread over the epochs the authors train (200). Targets and the loss of the epoch are compared first.
Goal: 300 times.

The floor: floating point operations, 2 for each multiply-add of forward and three times that for a step, (a) L (2L + H)
4H for each row and D 4H once, over the speed of a 1024 x 1024 product by PyTorch; (b) each step reads and writes the
parameters, their gradient and Adam's two moments, 4 bytes each (7 times), over the speed of a copy, plus the
operations. "x floor" is our time over it.

Times PyTorch / x floor, one thread, CPU seconds of an idle machine. All goals are missed, and here is why. PyTorch does
L (2L + D + H) / (L (2L + H) + D) times our operations, 1.7 at L = 6 and 1.8 beyond; what we gain above that is its
loop's cost. Forward at the floor would be 2.4 times. A step's products take three quarters of its time, as fast a
product as PyTorch's; were all else free (sums of the kernels' gradients, what the gradient keeps, a turned kernel,
Adam), it would be 2.1 times. Of the student's time Adam is a quarter and the products of 8 rows another; without Adam's
moments at all it would be 1.4 times as fast, which is what 300 asks for.

                forward       step
    L = 6       2.2 / 1.05    1.6 / 1.5
    L = 14      2.2 / 1.15    1.7 / 1.5
    L = 45      2.0 / 1.1     1.6 / 1.5
    student                   226 / 4.9

Two threads, wall clock: forward 1.5, 1.7, 2.0, step 1.6, 1.6, 1.7, student 201 times.

Needs `pip install -r benchmarks/requirements.txt`. Each thread count gets a process of its own, pinned to so many
cores, and takes two minutes on an idle machine. On a busy machine use `--clock=cpu`.
"""

import functools
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.timing import Timing, compare, markdown_table, pin_threads, ratio, run_benchmark

Clock = Callable[[], float]
Row = list[object]

WIDTH, BATCH, LABELS, STEPS = 512, 128, (6, 14, 45), 4
ROWS, FEATURES, HIDDEN, SEEDS, SCENE_BATCH, EPOCHS = 541, 294, 16, 4, 8, 200
COLUMNS, TEACHER_WIDTHS = ((0, 1, 2, 3), (1, 2, 4, 5)), (16, 32)
RATE = 1e-3
HEADERS = ("work", "size", "threads", "ours ms", "PyTorch ms", "times PyTorch (quartiles)", "x floor")


def per_unit(timing: Timing, units: int) -> Timing:
    """Of one of the units of work that a call does."""
    samples = tuple(np.array(timing.samples) / units)
    return Timing(timing.median / units, timing.low / units, timing.high / units, samples)


def row_of(work: str, size: str, threads: int, ours: Timing, peer: Timing, floor: float) -> Row:
    """One row of the table."""
    gain = ratio(peer, ours)
    times_peer = f"{gain.median:.3g} ({gain.low:.3g} to {gain.high:.3g})"
    row: Row = [work, size, threads, ours.median * 1e3, peer.median * 1e3, times_peer, ours.median / floor]
    print(row, file=sys.stderr, flush=True)
    return row


def measure_chain(labels: int, *, threads: int, repeats: int, clock: Clock, speed: float) -> list[Row]:
    """The rows of (a) for L labels."""
    import jax
    import jax.numpy as jnp
    import torch

    from benchmarks.torch_amalgamation import Chain, copy_params
    from jlabel.amalgamation import ChainApply, LabelChain
    from jlabel.amalgamation.model import _ChainLoss, init_chains
    from jlabel.amalgamation.train import train_runs

    rng, key = np.random.default_rng(0), jax.random.split(jax.random.key(0), 1)
    x = rng.normal(size=(BATCH, WIDTH)).astype(np.float32)
    y = rng.uniform(size=(BATCH, labels)).astype(np.float32)
    chain = ChainApply(LabelChain(labels, WIDTH))
    params = init_chains(chain.network, WIDTH, key)
    first = jax.tree.map(lambda leaf: leaf[0], params)
    peer = copy_params(Chain(WIDTH, labels, WIDTH), jax.tree.map(np.asarray, first))
    optimizer = torch.optim.Adam(peer.parameters(), lr=RATE)
    x_torch, y_torch = torch.from_numpy(x), torch.from_numpy(y)
    # An epoch whose every batch is the same rows.
    rows = {"features": jnp.asarray(x)[None], "targets": jnp.asarray(y)[None]}

    def train() -> np.ndarray:
        _, history = train_runs(
            _ChainLoss(chain, "steps"), params, rows, epochs=STEPS, batch_size=BATCH, learning_rate=RATE, keys=key
        )
        return history["loss"][0]

    def train_peer() -> list[float]:
        losses = []
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            _, steps = peer(x_torch)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(steps, y_torch.expand(steps.shape))
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    forward = jax.jit(lambda params, x: chain(params, x)[:2])

    def forward_peer() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return peer(x_torch)

    found, expected = forward(first, x), forward_peer()
    np.testing.assert_allclose(found[0], expected[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], expected[1].numpy().swapaxes(0, 1), atol=1e-4)
    np.testing.assert_allclose(train(), train_peer(), rtol=1e-4)
    work = 2 * BATCH * 4 * WIDTH * (labels * (2 * labels + WIDTH) + WIDTH) / speed
    sides: dict[str, dict[str, Callable[[], object]]] = {
        "forward": {"ours": lambda: jax.block_until_ready(forward(first, x)), "peer": forward_peer},
        "step": {"ours": train, "peer": train_peer},
    }
    size = f"D = H = {WIDTH}, L = {labels}, batch {BATCH}"
    found_rows = []
    for name, calls in sides.items():
        times = compare(calls, repeats=repeats, clock=clock)
        steps, passes = (STEPS, 3) if name == "step" else (1, 1)
        ours, theirs = (per_unit(times[side], steps) for side in ("ours", "peer"))
        found_rows.append(row_of(f"chain, {name}", size, threads, ours, theirs, passes * work))
    return found_rows


def measure_student(*, threads: int, repeats: int, clock: Clock, speed: float, bandwidth: float) -> Row:
    """The row of (b)."""
    import jax
    import jax.numpy as jnp

    from benchmarks.torch_amalgamation import Chain, RowByRow, copy_params
    from jlabel.amalgamation import ChainApply, ChainModel, LabelChain, transfer_targets
    from jlabel.amalgamation.model import _ChainLoss, init_chains
    from jlabel.amalgamation.train import train_runs

    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype(np.float32)
    teachers, peers = [], []
    for number, (columns, hidden) in enumerate(zip(COLUMNS, TEACHER_WIDTHS, strict=True)):
        chain = ChainApply(LabelChain(len(columns), hidden))
        drawn = init_chains(chain.network, FEATURES, jax.random.split(jax.random.key(number), 1))
        params = jax.tree.map(lambda leaf: leaf[0], drawn)
        teachers.append(ChainModel(chain, params, tuple(map(str, columns))))
        peers.append(copy_params(Chain(FEATURES, len(columns), hidden), jax.tree.map(np.asarray, params)))
    student, keys = ChainApply(LabelChain(6, HIDDEN)), jax.random.split(jax.random.key(9), SEEDS)
    params = init_chains(student.network, FEATURES, keys)
    first = jax.tree.map(lambda leaf: np.asarray(leaf[0]), params)
    loop = RowByRow(peers, COLUMNS, copy_params(Chain(FEATURES, 6, HIDDEN), first), x, RATE)

    def targets() -> np.ndarray:
        found = transfer_targets(teachers, x)
        return np.asarray(found.targets)[:, [found.label_names.index(str(k)) for k in range(6)]]

    y = targets()
    expected = np.stack([loop.targets(loop.features[row : row + 1]).numpy() for row in range(ROWS)])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    rows = {name: jnp.tile(jnp.asarray(values), (SEEDS, 1, 1)) for name, values in (("features", x), ("targets", y))}

    def epochs(number: int) -> np.ndarray:
        _, history = train_runs(
            _ChainLoss(student, "steps"), params, rows, epochs=number, batch_size=SCENE_BATCH, learning_rate=RATE,
            keys=keys,
        )  # fmt: skip
        return history["loss"]

    order = np.asarray(jax.random.permutation(jax.random.split(keys[0], 20)[0], ROWS))
    np.testing.assert_allclose(epochs(20)[0, 0], loop.epoch(order, SCENE_BATCH), rtol=1e-4)
    once = compare({"": targets}, repeats=5, clock=clock)[""].median
    times = compare(
        {"ours": functools.partial(epochs, 20), "peer": functools.partial(loop.epoch, order, SCENE_BATCH)},
        repeats=repeats, warmup=1, clock=clock,
    )  # fmt: skip
    # A call trains all seeds for 20 epochs, and all of their epochs share the targets.
    shared = once / (EPOCHS * SEEDS)
    own = per_unit(times["ours"], 20 * SEEDS)
    ours = Timing(own.median + shared, own.low + shared, own.high + shared, tuple(t + shared for t in own.samples))
    steps, numbers = -(-ROWS // SCENE_BATCH), sum(np.size(leaf) for leaf in jax.tree.leaves(first))
    operations = 6 * ROWS * 4 * HIDDEN * (6 * (12 + HIDDEN) + FEATURES)
    floor = steps * 7 * 4 * numbers / bandwidth + operations / speed
    size = f"{ROWS} x {FEATURES}, L = 6, H = {HIDDEN}, batch {SCENE_BATCH}, {SEEDS} seeds"
    print(f"targets once: {once * 1e3:.1f} ms", file=sys.stderr)
    return row_of("student, epoch and seed", size, threads, ours, times["peer"], floor)


def machine_speed(clock: Clock) -> tuple[float, float]:
    """Operations a second of a product, and bytes a second of a copy that stays in the cache."""
    import torch

    a, b = torch.ones(1024, 1024), torch.ones(1024, 1024)
    source, target = np.ones(1 << 16, np.float32), np.empty(1 << 16, np.float32)

    def copies() -> None:
        for _ in range(100):
            np.copyto(target, source)

    times = compare({"product": lambda: a @ b, "copy": copies}, repeats=20, clock=clock)
    return 2 * 1024**3 / times["product"].low, 200 * source.nbytes / times["copy"].low


def measure(*, quick: bool, threads: int, repeats: int, clock: Clock) -> list[Row]:
    """Rows of the table for one thread count; the process must not have imported JAX or PyTorch before."""
    pin_threads(threads)
    import torch

    torch.set_num_threads(threads)
    speed, bandwidth = machine_speed(clock)
    rows: list[Row] = []
    for labels in LABELS[: 1 if quick else None]:
        rows += measure_chain(labels, threads=threads, repeats=repeats, clock=clock, speed=speed)
    rows.append(measure_student(threads=threads, repeats=repeats, clock=clock, speed=speed, bandwidth=bandwidth))
    return rows


def main() -> None:
    """Run every thread count in a process of its own and print the table."""
    found = run_benchmark("benchmarks.amalgamation", __doc__, measure, quick="only L = 6 of (a)", repeats=7)
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
