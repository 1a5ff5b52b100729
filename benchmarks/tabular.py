"""TabTransformer against `tab_transformer_pytorch`, and the encoding of tables: `python -m benchmarks.tabular`.

Needs `pip install -r benchmarks/requirements.txt`.

(a) A step of AdamW: 10 columns of 9, 16, 7, 15, 6, 5, 2, 42, 30 and 12 values, 6 numbers, d = 32, 6 layers, 8 heads of
width 16, pre-norm, gated feed-forward layers, batch 256. Ours are steps of `train_runs`, which keeps them in one loop
on the device and draws the batches; "side by side" are 4 runs of different seeds, per run. The peers are the package as
it is called by default, with 4 residual streams, and with one, which is the same network as ours: with weights copied,
loss and gradients of all parameters are compared first. (It has a layer norm across the numbers; ours gets the numbers
behind it.) With dropout .1 the masks differ in place: the package's lie on attention weights and on the feed-forward
layers' inside, ours on the embeddings and on each sublayer's output. Goals: 6 times the default call; 1.1 times the
package with one stream without dropout, 1 time with; side by side 1.5 times per run.

(b) A million rows of 8 category columns and 6 of numbers, some missing, become codes and scaled numbers: `encode`
against scikit-learn's `OrdinalEncoder`, `SimpleImputer` and `StandardScaler`, results compared first.

The floor of (a): the floating-point operations of its products of matrices, at the speed of a product of two
1024 x 1024 matrices, and the bytes of AdamW, seven numbers of 4 bytes a parameter (parameter, gradient, two moments in;
three out), at the speed of a copy: 4.84e9 operations and 41 MB. Of (b): each cell is read once, 8 bytes, and written, 4
bytes; that the texts' hashes are computed, which is most of the work, is left out. "x floor" is our time over it.

Times the peer / x floor. One thread: CPU seconds of an idle machine; two: wall time. All goals are met. Above the floor
are attention between 10 tokens and its softmax, layer norms, the gelu, AdamW's arithmetic, and products of 32 columns,
which are slower than those of 1024. Runs "side by side" go one after the other on a CPU: an axis of runs would make
products and sums slower.

                                        one thread                  two threads
                                default    one stream       default    one stream
    dropout 0                   11.7       1.4  / 3.2       19         1.4 / 4.1
    dropout 0, 4 runs           12.4       1.6  / 3.0       22         1.6 / 3.5
    dropout .1                  10.3       1.5  / 3.6       18         1.5 / 4.5
    dropout .1, 4 runs          11.8       1.75 / 3.2       21         1.8 / 3.8
    encoding                    2.7 / 56 (scikit-learn)     2.7 / 63

The sides take turns; each thread count gets a process of its own, pinned to so many cores. On a busy machine use
`--clock=cpu`.
"""

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.label_graph import machine_speed
from benchmarks.taxonomy_classes import HEADERS, row_of
from benchmarks.timing import Timing, compare, markdown_table, pin_threads, run_benchmark

Clock = Callable[[], float]

CARDINALITIES = (9, 16, 7, 15, 6, 5, 2, 42, 30, 12)
VALUES, WIDTH, LAYERS, HEADS, HEAD_SIZE, BATCH = 6, 32, 6, 8, 16, 256
STEPS, RUNS, ROWS = 10, 4, 1_000_000  # steps of one timed call


@dataclass(frozen=True)
class Loss:
    """Binary cross-entropy of one output."""

    network: Any

    def __call__(self, params: Any, batch: Mapping[str, Any], key: Any, share: Any) -> Any:
        """The mean over the batch; see `train_runs`."""
        import optax

        outputs = self.network.apply(params, batch["codes"], batch["values"], key if self.network.dropout else None)
        return optax.losses.sigmoid_binary_cross_entropy(outputs[:, 0], batch["target"]).mean()


def draw_rows() -> dict[str, np.ndarray]:
    """One batch."""
    rng = np.random.default_rng(0)
    return {
        "codes": np.stack([rng.integers(0, size, BATCH) for size in CARDINALITIES], 1).astype(np.int32),
        "values": rng.standard_normal((BATCH, VALUES)).astype(np.float32),
        "target": rng.integers(0, 2, BATCH).astype(np.float32),
    }


def network(dropout: float) -> Any:
    """Ours."""
    from jlabel.tabular import TabTransformer

    return TabTransformer(
        CARDINALITIES, VALUES, 1, WIDTH, LAYERS, HEADS, dropout, norm="pre", head_size=HEAD_SIZE, gated=True
    )


def check_equal(rows: Mapping[str, np.ndarray], peer: Any) -> None:
    """Stop where loss or gradients are not the peer's, given its weights."""
    import jax

    from benchmarks.torch_tabular import as_ours

    loss, weights, gradients = peer.weights_and_gradients()
    params = {"params": as_ours(weights, CARDINALITIES, LAYERS, scale=WIDTH**0.5)}
    given = {**rows, "values": peer.normed_values()}
    ours, found = jax.jit(jax.value_and_grad(Loss(network(0.0))))(params, given, None, 0.0)
    if abs(float(ours) - loss) > 1e-5 * loss:
        raise SystemExit(f"loss {float(ours)}, the peer's {loss}")
    # Only ours has a bias of queries, keys and values.
    expected: Any = as_ours({**weights, **gradients}, CARDINALITIES, LAYERS, scale=WIDTH**-0.5)
    for path, gradient in jax.tree_util.tree_leaves_with_path(found["params"]):
        names = [part.key for part in path]
        want = functools.reduce(operator.getitem, names, expected)
        off = np.abs(np.asarray(gradient) - want).max()
        if names[-2:] != ["qkv", "bias"] and off > 1e-4 * max(np.abs(want).max(), 1e-3):
            raise SystemExit(f"gradient of {'.'.join(names)}: {off} off, of {np.abs(want).max()}")


def our_steps(rows: Mapping[str, np.ndarray], dropout: float, runs: int) -> Callable[[], object]:
    """A call that does `STEPS` steps of each run."""
    import jax

    from jlabel.tabular import init_network, train_runs

    net = network(dropout)
    starts = [init_network(net, jax.random.key(seed)) for seed in range(runs)]
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
    # Ten batches of rows, so that every step takes others.
    table = {name: np.tile(values, (STEPS, *[1] * (values.ndim - 1))) for name, values in rows.items()}
    places = {"labelled": np.tile(np.arange(STEPS * BATCH), (runs, 1))}
    keys = jax.random.split(jax.random.key(0), runs)

    def call() -> object:
        found = train_runs(
            Loss(net), params, table, places, steps=STEPS, evaluate_every=STEPS, batch_size=BATCH, learning_rate=1e-3,
            keys=keys, progress=False,
        )  # fmt: skip
        return jax.block_until_ready(found.params)

    return call


def step_floor(speed: tuple[float, float, float]) -> float:
    """Seconds of products and of AdamW's traffic in one step."""
    inner, width = HEADS * HEAD_SIZE, WIDTH * len(CARDINALITIES) + VALUES
    token = 3 * WIDTH * inner + inner * WIDTH + 8 * WIDTH**2 + 4 * WIDTH**2
    layer = BATCH * len(CARDINALITIES) * (token + 2 * len(CARDINALITIES) * inner)
    head = 4 * width**2 + 8 * width**2 + 2 * width
    operations = 2 * 3 * (LAYERS * layer + BATCH * head)  # forward, and two products backward
    parameters = sum(CARDINALITIES) * WIDTH + LAYERS * token + head
    return operations / speed[0] + 28 * parameters / speed[1]


def divided(time: Timing, count: int) -> Timing:
    """Seconds of one of ``count`` steps."""
    return Timing(time.median / count, time.low / count, time.high / count, tuple(x / count for x in time.samples))


def measure_steps(speed: tuple[float, float, float], *, threads: int, repeats: int, clock: Clock) -> list[list[object]]:
    """The rows of (a)."""
    from benchmarks.torch_tabular import Peer

    rows = draw_rows()
    found = []
    floor = step_floor(speed)
    for dropout in (0.0, 0.1):
        peers = {
            name: Peer(CARDINALITIES, depth=LAYERS, heads=HEADS, dropout=dropout, streams=streams, **rows)
            for name, streams in (("default call", None), ("one residual stream", 1))
        }
        if not dropout:
            check_equal(rows, peers["one residual stream"])
        counts = {"default call": 1, "one residual stream": STEPS // 2}
        calls: dict[str, Callable[[], object]] = {name: peer.steps(counts[name]) for name, peer in peers.items()}
        for name, runs in (("ours", 1), ("side by side", RUNS)):
            calls[name], counts[name] = our_steps(rows, dropout, runs), STEPS * runs
        times = compare(calls, repeats=repeats, warmup=1, clock=clock)
        each = {name: divided(time, counts[name]) for name, time in times.items()}
        for ours, work in (("ours", "step"), ("side by side", f"step, {RUNS} runs side by side")):
            for name in peers:
                size = f"dropout {dropout:g}"
                found.append(row_of(work, size, threads, each[ours], name, each[name], floor))
    return found


def measure_encoding(
    speed: tuple[float, float, float], *, threads: int, repeats: int, clock: Clock
) -> list[list[object]]:
    """The rows of (b)."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler

    from jlabel.tabular import encode, fit_encoder

    rng = np.random.default_rng(0)
    words = np.array([f"value {k}" for k in range(16)], object)
    texts = {f"text {k}": words[rng.integers(0, 4 * (k + 1), ROWS)] for k in range(4)}
    numbers = rng.standard_normal((ROWS, 6))
    numbers[:, 0][rng.random(ROWS) < 0.1] = np.nan
    codes = {f"code {k}": rng.integers(0, 3 + k, ROWS) for k in range(4)}
    frame = pd.DataFrame({**texts, **codes, **{f"number {k}": numbers[:, k] for k in range(6)}})
    encoder = fit_encoder(frame)
    medians = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    peer = make_column_transformer(
        (OrdinalEncoder(dtype=np.int32), [*texts, *codes]), (medians, list(frame.columns[8:]))
    ).fit(frame)
    ours, theirs = encode(encoder, frame), peer.transform(frame)
    if (ours.codes != theirs[:, :8]).any():
        raise SystemExit("the codes differ")
    # With the median in its gaps a column has another mean and deviation than its known values.
    if np.abs(ours.values[:, 1:6] - theirs[:, 9:14]).max() > 1e-4:
        raise SystemExit("the scaled numbers differ")
    times = compare(
        {"ours": lambda: encode(encoder, frame), "scikit-learn": lambda: peer.transform(frame)},
        repeats=repeats,
        warmup=1,
        clock=clock,
    )
    floor = frame.size * 12 / speed[1]
    return [
        row_of(
            "encoding",
            f"{ROWS:,} x {frame.shape[1]}",
            threads,
            times["ours"],
            "scikit-learn",
            times["scikit-learn"],
            floor,
        )
    ]


def measure(*, quick: bool, threads: int, repeats: int, clock: Clock) -> list[list[object]]:
    """Rows of the table for one thread count; the process must not have imported NumPy's users before."""
    pin_threads(threads)
    speed = machine_speed(clock)
    rows = measure_encoding(speed, threads=threads, repeats=repeats, clock=clock)
    if quick:
        return rows
    import torch

    torch.set_num_threads(threads)
    return rows + measure_steps(speed, threads=threads, repeats=repeats, clock=clock)


def main() -> None:
    """Run every thread count in a process of its own and print the table."""
    found = run_benchmark("benchmarks.tabular", __doc__, measure, quick="only (b)", repeats=5)
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
