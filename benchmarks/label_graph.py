"""Block softmax, path decoder and exact posterior against PyTorch: `python -m benchmarks.label_graph`.

Value and gradient of the mean negative log-likelihood. Losses and gradients of every side are checked against float64
first; then the sides take turns. A turn's first call, on caches that the side before left cold, does not count: in
training the logits have just been written. Data are jit arguments, block ids constants. Each thread count gets a
process of its own, pinned to so many cores, in which glibc keeps freed memory, for both sides: pages given back and
asked for again cost more than these functions.
Needs `pip install -r benchmarks/requirements.txt`; about five minutes a thread count, `--quick` takes one.

Peers: "loop" reads and writes each block by index, "split" is split + log_softmax + cat, "scatter" is scatter_reduce;
"mask" and "gather" compute the target's block only. Goals, as multiples of the loop / the best of the first three:

    V, G, B           all blocks    target block only
    60, 12, 512         14 / 5        33 / 12
    2000, 200, 512      69 / 6       188 / 16     the same with skewed sizes 38 / 2.8, 126 / 9
    50000, 2000, 64      - / 1.7       - / 14
    50000, 12, 64      4.8 / 1        21 / 2.6
    decoder (loop over a GRUCell, B 64, T 8, H 512): V=60 1.2 / 1.1; V=2000, G=200 4.1 / 1.9; prefix tree: 2

The floor. All blocks: one exponential for each of B x V numbers, and 8 bytes each (logits in, gradient out). Target
block only: 4 bytes for each of B x V (the gradient is dense), 8 and one exponential for each of B x (widest block).
Decoder: 2 x 3 x B x H x (D + 3 H (T - 1) + V T) operations, all products of matrices. Each over what this machine does
in an exponential, a copy, or a 1024 x 1024 product; "x floor" is our time over the larger.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.timing import Timing, compare, markdown_table, pin_threads, ratio, run_benchmark

Clock = Callable[[], float]

# nodes, blocks, batch, skewed sizes
BLOCKS = (
    (60, 12, 512, False),
    (2000, 200, 512, False),
    (2000, 200, 512, True),
    (50000, 2000, 64, False),
    (50000, 12, 64, False),
)
SCALING = ((2000, 200, 32, False), (2000, 200, 128, False))
# blocks in each of the eight layers, width of a block, batch
DECODERS = (((2, 2, 2, 2, 1, 1, 1, 1), 5, 64), ((25,) * 8, 10, 64), ((25,) * 8, 10, 16), ((25,) * 8, 10, 256))
POSTERIORS = (16, 64)
HIDDEN = 512

BLOCK_HEADERS = (
    "V, G, B", "threads", "loop ms", "split", "scatter", "mask", "gather", "all blocks ms", "x loop / best peer",
    "x floor", "target only ms", "x loop / best peer", "x best target-only peer", "x floor",
)  # fmt: skip
DECODER_HEADERS = (
    "V, G, B", "threads", "loop ms", "split", "gather", "gather, folded", "ours ms", "x loop / split",
    "x gather / folded", "x floor",
)  # fmt: skip
POSTERIOR_HEADERS = ("B", "threads", "path by path ms", "prefix tree ms", "times faster (quartiles)")


def block_sizes(nodes: int, blocks: int, skewed: bool) -> np.ndarray:
    """Sizes as even as they can be, or falling like 1 / rank (at least 1) in a random order."""
    if not skewed:
        return np.bincount(np.arange(nodes) * blocks // nodes, minlength=blocks)
    weights = 1 / np.arange(1, blocks + 1)
    sizes = (weights / weights.sum() * (nodes - blocks)).astype(int) + 1
    sizes[0] += nodes - sizes.sum()
    return np.random.default_rng(0).permutation(sizes)


def time_sides(sides: dict[str, Callable[[], Any]], *, repeats: int, clock: Clock) -> dict[str, Timing]:
    """Seconds per call, warm: every turn starts with a call that does not count, then come up to 40 ms of calls."""
    turns: dict[str, Callable[[], Any]] = {}
    calls = {}
    for name, side in sides.items():
        side()
        start = clock()
        side()
        seconds = clock() - start
        calls[name] = int(np.clip(0.04 / max(seconds, 1e-6), 1, 200))
        turns[f"{name}, first"] = side
        turns[name] = functools.partial(_several, side, calls[name])
    times = compare(turns, repeats=repeats, warmup=1, clock=clock)
    return {
        name: Timing(t.median / n, t.low / n, t.high / n, tuple(s / n for s in t.samples))
        for name, n in calls.items()
        for t in [times[name]]
    }


def _several(side: Callable[[], Any], calls: int) -> None:
    for _ in range(calls):
        side()


def times_faster(ours: Timing, peer: Timing | None) -> str:
    """How many of our calls fit in one of the peer's, median over rounds."""
    return "-" if peer is None else f"{ratio(peer, ours).median:.3g}"


def machine_speed(clock: Clock) -> tuple[float, float, float]:
    """Operations a second of a matrix product, bytes a second of a copy (in and out), exponentials a second."""
    import jax
    import jax.numpy as jnp

    a, source, target = jnp.ones((1024, 1024)), np.ones(1 << 20, np.float32), np.empty(1 << 20, np.float32)
    product, powers = jax.jit(lambda x: x @ x), jax.jit(lambda x: jnp.exp(x).max())
    logits = jnp.linspace(-5, 5, 1 << 17)
    times = time_sides(
        {
            "product": lambda: jax.block_until_ready(product(a)),
            "copy": lambda: np.copyto(target, source),
            "exp": lambda: jax.block_until_ready(powers(logits)),
        },
        repeats=7,
        clock=clock,
    )
    return 2 * 1024**3 / times["product"].low, 2 * source.nbytes / times["copy"].low, logits.size / times["exp"].low


def check(name: str, found: tuple[float, np.ndarray], expected: tuple[float, np.ndarray]) -> None:
    """Stop where a side's loss or gradient is not that of the float64 reference."""
    loss = abs(found[0] - expected[0]) / abs(expected[0])
    grad = float(np.abs(np.asarray(found[1]) - expected[1]).max() / np.abs(expected[1]).max())
    if not (loss < 1e-5 and grad < 1e-4):
        raise SystemExit(f"{name}: relative error of the loss {loss:.1e}, of the gradient {grad:.1e}")


def reference_nll(logits: np.ndarray, targets: np.ndarray, sizes: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient, block by block, in float64."""
    z, rows = logits.astype(np.float64), np.arange(len(logits))
    out, ends = np.empty_like(z), np.cumsum(sizes)
    for end, size in zip(ends.tolist(), sizes.tolist(), strict=True):
        part = z[:, end - size : end]
        high = part.max(1, keepdims=True)
        out[:, end - size : end] = part - high - np.log(np.exp(part - high).sum(1, keepdims=True))
    ids = np.repeat(np.arange(len(sizes)), sizes)
    grad = np.where(ids[targets][:, None] == ids, np.exp(out), 0.0)
    grad[rows, targets] -= 1
    return float(-out[rows, targets].mean()), grad / len(z)


def measure_blocks(case: Sequence[Any], *, threads: int, repeats: int, clock: Clock, speed: Any) -> list[object]:
    """One row of the table of block softmax."""
    import jax
    import jax.numpy as jnp

    from benchmarks.torch_label_graph import ALL_BLOCKS, TARGET_ONLY, Blocks, nll_call
    from jlabel.ops import block_log_softmax, target_block_log_softmax

    nodes, num_blocks, batch, skewed = case
    sizes, rng = block_sizes(nodes, num_blocks, skewed), np.random.default_rng(1)
    ids = np.repeat(np.arange(num_blocks), sizes)
    logits = (3 * rng.normal(size=(batch, nodes))).astype(np.float32)
    targets = rng.integers(0, nodes, batch).astype(np.int32)

    def all_blocks(z: jax.Array, t: jax.Array) -> jax.Array:
        return -jnp.take_along_axis(block_log_softmax(z, ids, num_blocks=num_blocks), t[:, None], axis=1).mean()

    def target_only(z: jax.Array, t: jax.Array) -> jax.Array:
        return -target_block_log_softmax(z, t, ids).mean()

    def ours(loss: Callable[..., jax.Array]) -> Callable[[], Any]:
        step, data = jax.jit(jax.value_and_grad(loss)), (jnp.asarray(logits), jnp.asarray(targets))
        return lambda: jax.block_until_ready(step(*data))

    blocks = Blocks(sizes)
    sides = {name: nll_call(f, logits, targets, blocks) for name, f in {**ALL_BLOCKS, **TARGET_ONLY}.items()}
    if num_blocks >= 1000:
        del sides["loop"]  # minutes
    sides |= {"all": ours(all_blocks), "target": ours(target_only)}
    expected = reference_nll(logits, targets, sizes)
    for name, side in sides.items():
        check(f"{case}, {name}", side(), expected)
    times = time_sides(sides, repeats=repeats, clock=clock)
    loop, full, only = times.get("loop"), ("loop", "split", "scatter"), ("mask", "gather")
    best, best_only = (min((times[n] for n in names if n in times), key=lambda t: t.median) for names in (full, only))
    _, bandwidth, powers = speed
    numbers, window = batch * nodes, batch * int(sizes.max())
    floor_all = max(8 * numbers / bandwidth, numbers / powers)
    floor_target = max((4 * numbers + 8 * window) / bandwidth, window / powers)
    every, target = times["all"], times["target"]
    return [
        f"{nodes}, {num_blocks}, {batch}" + ", skewed" * skewed, threads,
        *(times[n].median * 1e3 if n in times else "-" for n in (*full, *only)),
        every.median * 1e3, f"{times_faster(every, loop)} / {times_faster(every, best)}", every.median / floor_all,
        target.median * 1e3, f"{times_faster(target, loop)} / {times_faster(target, best)}",
        times_faster(target, best_only), target.median / floor_target,
    ]  # fmt: skip


def layered_graph(layers: Sequence[int], width: int) -> dict[str, Any]:
    """A tree with so many blocks in each layer; block k hangs on a node of block k of the layer above."""
    blocks: list[dict[str, Any]] = []
    above = ["root"] * layers[0]
    for depth, count in enumerate(layers):
        ids = [[f"{depth}.{k}.{i}" for i in range(width)] for k in range(count)]
        blocks += [{"parent": above[k], "name": f"{depth}.{k}", "nodes": ids[k]} for k in range(count)]
        above = [members[k % width] for k, members in enumerate(ids)]
    nodes = [node for block in blocks for node in block["nodes"]]
    parents = {block["parent"] for block in blocks}
    return {
        "format": "jlabel.label_graph/1", "name": "layers", "root": "root",
        "nodes": [{"id": node} for node in ["root", *nodes]],
        "edges": [[block["parent"], node] for block in blocks for node in block["nodes"]],
        "blocks": blocks,
        "label_sets": [{"name": "leaves", "labels": {n: n for n in nodes if n not in parents}}],
    }  # fmt: skip


def measure_decoder(case: Sequence[Any], *, threads: int, repeats: int, clock: Clock, speed: Any) -> list[object]:
    """One row of the table of decoders: paths of eight steps, teacher-forced."""
    import jax
    import jax.numpy as jnp
    import torch

    from benchmarks.torch_label_graph import ALL_BLOCKS, TARGET_ONLY, Blocks, Decoder, decoder_call
    from jlabel.label_graph import PathDecoder, build_graph, path_log_probs

    layers, width, batch = case
    graph, rng = build_graph(layered_graph(layers, width)), np.random.default_rng(0)
    count = graph.num_nodes
    parent = {int(child): int(node) for node, child in graph.edges}
    paths = rng.integers(count - layers[-1] * width, count, size=(batch, 1))
    for _ in layers:
        paths = np.concatenate([[[parent[v]] for v in paths[:, 0].tolist()], paths], axis=1)
    features = rng.normal(size=(batch, HIDDEN)).astype(np.float32)
    blocks = Blocks(np.full(sum(layers), width))
    torch.manual_seed(0)
    cell = Decoder(count, HIDDEN, HIDDEN, folded=False)
    folded = cell.fold()
    apply_fn: Any = PathDecoder(num_nodes=count, hidden=HIDDEN).apply
    data = jnp.asarray(features), jnp.asarray(paths[:, None])

    @jax.jit
    def step(params: Any, x: jax.Array, nodes: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            mask = jnp.ones(nodes.shape, bool)
            return -path_log_probs(apply_fn, params, x, nodes, mask, graph, gate="none").mean()

        return jax.value_and_grad(loss)(params)

    params = jax.tree.map(jnp.asarray, {"params": folded.jlabel_params()})
    sides: dict[str, Callable[[], Any]] = {
        "loop": decoder_call(cell, ALL_BLOCKS["loop"], features, paths, blocks),
        "split": decoder_call(cell, ALL_BLOCKS["split"], features, paths, blocks),
        "gather": decoder_call(cell, TARGET_ONLY["gather"], features, paths, blocks),
        "folded": decoder_call(folded, TARGET_ONLY["gather"], features, paths, blocks),
        "ours": lambda: jax.block_until_ready(step(params, *data)),
    }
    double = Decoder(count, HIDDEN, HIDDEN, folded=False).double()
    double.load_state_dict(cell.state_dict())
    expected = decoder_call(double, ALL_BLOCKS["split"], features, paths, blocks)()
    for name, side in sides.items():
        loss, grads = side()
        for layer, grad in expected[1].items():
            found = grads["params"][layer]["kernel"] if name == "ours" else grads[layer]
            check(f"decoder {case}, {name}, {layer}", (float(loss), found), (expected[0], grad))
    times = time_sides(sides, repeats=repeats, clock=clock)
    ours, operations = times["ours"], HIDDEN + 3 * HIDDEN * (len(layers) - 1) + count * len(layers)
    return [
        f"{count}, {sum(layers)}, {batch}", threads, *(t.median * 1e3 for t in times.values()),
        " / ".join(times_faster(ours, times[n]) for n in ("loop", "split")),
        " / ".join(times_faster(ours, times[n]) for n in ("gather", "folded")),
        ours.median / (6 * batch * HIDDEN * operations / speed[0]),
    ]  # fmt: skip


def measure_posterior(batch: int, *, threads: int, repeats: int, clock: Clock) -> list[object]:
    """Posterior of every label of the graph `pets`: the decoder along each path, or once per prefix."""
    import jax
    import jax.numpy as jnp

    from jlabel.data import load_graph
    from jlabel.label_graph import PathDecoder, build_graph, label_log_probs, path_log_probs, plan_paths

    plan = plan_paths(build_graph(load_graph("pets")))
    name = plan.graph.label_sets[0].name
    place = plan.label_slice(name)
    valid, classes = plan.paths.valid[place], plan.paths.valid[place].shape[0]
    nodes, mask = plan.paths.nodes[place][valid], plan.paths.mask[place][valid]  # [P, T], without padding paths
    of_path = np.argwhere(valid)[:, 0]
    decoder = PathDecoder(num_nodes=plan.graph.num_nodes, hidden=HIDDEN)
    apply_fn: Any = decoder.apply
    features = jnp.asarray(np.random.default_rng(0).normal(size=(batch, HIDDEN)), jnp.float32)
    params = jax.jit(decoder.init)(jax.random.key(0), features)

    @jax.jit
    def by_path(params: Any, x: jax.Array) -> jax.Array:
        shape = (x.shape[0], *nodes.shape)
        found = path_log_probs(
            apply_fn, params, x, jnp.broadcast_to(nodes, shape), jnp.broadcast_to(mask, shape), plan.graph
        )
        return jnp.log(jax.ops.segment_sum(jnp.exp(found).T, of_path, classes, indices_are_sorted=True)).T

    @jax.jit
    def by_tree(params: Any, x: jax.Array) -> jax.Array:
        return label_log_probs(apply_fn, params, x, plan, name)

    np.testing.assert_allclose(by_tree(params, features), by_path(params, features), rtol=1e-4, atol=1e-4)
    sides = {
        "paths": lambda: jax.block_until_ready(by_path(params, features)),
        "tree": lambda: jax.block_until_ready(by_tree(params, features)),
    }
    times = time_sides(sides, repeats=repeats, clock=clock)
    faster = ratio(times["paths"], times["tree"])
    text = f"{faster.median:.3g} ({faster.low:.3g} to {faster.high:.3g})"
    return [batch, threads, times["paths"].median * 1e3, times["tree"].median * 1e3, text]


def measure(*, quick: bool, threads: int, repeats: int, clock: Clock) -> list[list[list[object]]]:
    """Rows of the three tables for one thread count; the process must not have imported JAX or PyTorch before."""
    pin_threads(threads)
    import torch

    torch.set_num_threads(threads)
    options: dict[str, Any] = {"threads": threads, "repeats": repeats, "clock": clock}
    speed = machine_speed(clock)
    note = "matrix product {:.3g} GFLOP/s, copy {:.3g} GB/s, {:.3g} G exponentials/s".format(*(s / 1e9 for s in speed))
    print(f"{threads} threads: {note}", file=sys.stderr, flush=True)
    work: tuple[tuple[Callable[..., list[object]], Sequence[Any]], ...] = (
        (functools.partial(measure_blocks, speed=speed), BLOCKS[:3] if quick else BLOCKS + SCALING),
        (functools.partial(measure_decoder, speed=speed), DECODERS[:2] if quick else DECODERS),
        (measure_posterior, POSTERIORS[:1] if quick else POSTERIORS),
    )
    tables: list[list[list[object]]] = []
    for row, cases in work:
        tables.append([])
        for case in cases:
            tables[-1].append(row(case, **options))
            print(tables[-1][-1], file=sys.stderr, flush=True)
    return tables


def main() -> None:
    """Run every thread count in a process of its own and print the tables."""
    found = run_benchmark(
        "benchmarks.label_graph", __doc__, measure, quick="six small cases, one minute", repeats=7,
        environment={"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)},
    )  # fmt: skip
    headers = (BLOCK_HEADERS, DECODER_HEADERS, POSTERIOR_HEADERS)
    tables = [[row for tables in found for row in tables[i]] for i in range(len(headers))]
    print("\n\n".join(markdown_table(h, rows) for h, rows in zip(headers, tables, strict=True)))


if __name__ == "__main__":
    main()
