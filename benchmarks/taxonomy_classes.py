"""Universal classes against networkx, targets and domain probabilities against PyTorch.

`python -m benchmarks.taxonomy_classes` (`benchmarks.taxonomy` runs it too). Needs `pip install -r
benchmarks/requirements.txt`; the networkx side takes minutes, `--quick` takes a smaller case.

Universal classes: random relations of three domains, part of them mutual. The peer restarts after every change, as the
rules are written; both sides use one core. The same classes and weights are asserted. Goal: 20 times.

Targets and domain probabilities: logits `[B, U]` of a mixed batch. "loss" is KL with its gradient in the logits,
"probs" the probabilities in the rows' own domains by membership, "both" one after the other. The peer loops over the
domains of the batch with `KLDivLoss` and a product of matrices; "stacked" is PyTorch with our tables, one lookup and
one scatter. Losses, gradients and probabilities of all sides are compared with float64 first. Goal: 2 times the loop.

The floor. Universal classes: the edges are read and the weights written, 8 bytes for each of V x V + V x U. Loss: for
each of B x U an exponential and 12 bytes (logits and targets in, gradient out); probs: an exponential and 8 bytes
(logits and the held class in). Each over what this machine does in a copy, or in exponentials; "x floor" is our time
over the larger. Our universal classes are NumPy and networkx on lists of edges, a microsecond or two an edge; of the
rest an exponential in every place is the least of the work: forward and backward, the targets' entropy, lookups.

Two cores, 1,000 classes and 5,000 edges: 112 times networkx (pairs: 195), 25 (19) x floor. U = 1,000, B = 256: times
the loop / times stacked / x floor; a batch of 256 gives XLA's second core nothing to do, PyTorch's gains a little

              one thread                              two threads
              3 domains          10 domains           3 domains          10 domains
    loss      2.9 / 1.9 / 6.1    4.4 / 1.8 / 6.4      2.6 / .91 / 4.3    3.4 / .94 / 4.2
    probs     1.7 / 1.0 / 6.8    1.6 / 1.6 / 5.3      .86 / .43 / 5.2    1.0 / .65 / 4.2
    both      2.5 / 1.6 / 6.3    3.5 / 1.9 / 5.5      2.4 / .87 / 3.7    3.5 / 1.3 / 2.9
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.label_graph import machine_speed, time_sides
from benchmarks.networkx_taxonomy import restart_taxonomy
from benchmarks.timing import Timing, compare, markdown_table, pin_threads, ratio, run_benchmark
from jlabel.taxonomy import Relations, Taxonomy, build_taxonomy

Clock = Callable[[], float]

# classes of each domain, edges
BUILDS = (((100, 100, 100), 1500), ((334, 333, 333), 5000))
# classes of each domain, edges (so that U is 1,000), batch
BATCHES = (((200,) * 3, 1350, 256), ((60,) * 10, 1300, 256))
HEADERS = ("work", "size", "threads", "ours ms", "peer", "peer ms", "times peer (quartiles)", "x floor")


def random_relations(sizes: tuple[int, ...], edges: int) -> Relations:
    """Random edges between domains; after three of five comes the edge back."""
    rng, total = np.random.default_rng(0), sum(sizes)
    domain_of, weights = np.repeat(np.arange(len(sizes)), sizes), np.zeros((total, total))
    count = 0
    while count < edges:
        a, b = rng.integers(total, size=2)
        for source, target in ((a, b), (b, a))[: 1 + (rng.random() < 0.6)]:
            if count < edges and domain_of[a] != domain_of[b] and not weights[source, target]:
                weights[source, target] = 1 - rng.random()
                count += 1
    names = tuple(tuple(map(str, range(size))) for size in sizes)
    return Relations(tuple(f"domain {a}" for a in range(len(sizes))), names, weights)


def row_of(work: str, size: str, threads: int, ours: Timing, peer: str, time: Timing, floor: float) -> list[object]:
    """One row of the table."""
    gain = ratio(time, ours)
    times = f"{gain.median:.3g} ({gain.low:.3g} to {gain.high:.3g})"
    row = [work, size, threads, ours.median * 1e3, peer, time.median * 1e3, times, ours.median / floor]
    print(row, file=sys.stderr, flush=True)
    return row


def measure_build(case: tuple[tuple[int, ...], int], merge: str, *, clock: Clock, speed: float) -> list[object]:
    """One row of universal classes."""
    sizes, edges = case
    relations, total = random_relations(sizes, edges), sum(sizes)
    domain_of = np.repeat(np.arange(len(sizes)), sizes).tolist()
    sides: dict[str, Callable[[], Any]] = {
        "ours": functools.partial(build_taxonomy, relations, merge=merge),
        "peer": functools.partial(restart_taxonomy, relations.weights, domain_of, merge),
    }
    taxonomy, expected = (side() for side in sides.values())
    found = {
        tuple(relations.starts[a] + i for a, i in members): [float(taxonomy.weights[a][i, u]) for a, i in members]
        for u, members in enumerate(taxonomy.members)
    }
    if list(found) != list(expected):
        raise SystemExit(f"{case}, {merge}: other universal classes")
    for members, weights in expected.items():
        np.testing.assert_allclose(found[members], list(weights.values()), rtol=1e-12)
    times = compare(sides, repeats=3, warmup=0, clock=clock)
    floor = 8 * total * (total + taxonomy.num_classes) / speed
    size = f"V {total}, E {edges}, U {taxonomy.num_classes}"
    return row_of(f"universal classes, {merge}", size, 1, times["ours"], "networkx", times["peer"], floor)


def reference(
    taxonomy: Taxonomy, logits: np.ndarray, domain: np.ndarray, labels: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """KL, its gradient and the domain probabilities in float64, row by row."""
    z = logits.astype(np.float64)
    probs = np.exp(z - z.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    loss, grads, own = 0.0, [], np.zeros((len(z), max(map(len, taxonomy.class_names))))
    for row, (p, a, label) in enumerate(zip(probs, domain.tolist(), labels.tolist(), strict=True)):
        target = taxonomy.weights[a][label] / taxonomy.weights[a][label].sum()
        held = target > 0
        loss += float((target[held] * np.log(target[held] / p[held])).sum()) / len(z)
        grads.append((p - target) / len(z))
        sums = (taxonomy.weights[a] > 0) @ p
        own[row, : len(sums)] = sums / sums.sum()
    return loss, np.stack(grads), own


def measure_batch(
    case: tuple[tuple[int, ...], int, int], *, threads: int, repeats: int, clock: Clock, speed: tuple[float, ...]
) -> list[list[object]]:
    """Rows of loss, probabilities and both, for each peer."""
    import jax
    import jax.numpy as jnp

    from benchmarks.torch_taxonomy import Domains
    from jlabel.taxonomy import domain_probs, target_table, universal_loss

    sizes, edges, batch = case
    taxonomy, rng = build_taxonomy(random_relations(sizes, edges)), np.random.default_rng(1)
    domain = rng.integers(len(sizes), size=batch)
    labels = rng.integers(np.array(sizes)[domain])
    logits = (3 * rng.normal(size=(batch, taxonomy.num_classes))).astype(np.float32)
    table, z = target_table(taxonomy), jnp.asarray(logits)
    data = {"features": z, "domain": jnp.asarray(domain), "label": jnp.asarray(labels)}

    @jax.jit
    def loss_step(z: jax.Array, data: dict[str, jax.Array], table: jax.Array) -> Any:
        def loss(z: jax.Array) -> Any:
            return universal_loss(z, data, None, apply_fn=lambda params, _: params, table=table)

        (_, metrics), grad = jax.value_and_grad(loss, has_aux=True)(z)
        return metrics["kl"], grad

    @jax.jit
    def both_step(z: jax.Array, data: dict[str, jax.Array], table: jax.Array) -> Any:
        return loss_step(z, data, table), domain_probs(z, taxonomy, data["domain"])

    peer = Domains(taxonomy.weights, taxonomy.owners, logits, domain, labels)
    sides: dict[str, dict[str, Callable[[], Any]]] = {
        "loss": {
            "ours": lambda: jax.block_until_ready(loss_step(z, data, table)),
            "loop": peer.loop_loss,
            "stacked": peer.stacked_loss,
        },
        "probs": {
            "ours": lambda: jax.block_until_ready(domain_probs(z, taxonomy, data["domain"])),
            "loop": peer.loop_probs,
            "stacked": peer.stacked_probs,
        },
        "both": {
            "ours": lambda: jax.block_until_ready(both_step(z, data, table)),
            "loop": lambda: (peer.loop_loss(), peer.loop_probs()),
            "stacked": lambda: (peer.stacked_loss(), peer.stacked_probs()),
        },
    }
    loss, grad, probs = reference(taxonomy, logits, domain, labels)
    for side in ("ours", "loop", "stacked"):
        for found in (sides["loss"][side](), sides["both"][side]()[0]):
            np.testing.assert_allclose(float(found[0]), loss, rtol=1e-5)
            np.testing.assert_allclose(found[1], grad, atol=1e-5 * np.abs(grad).max())
        for found in (sides["probs"][side](), sides["both"][side]()[1]):
            np.testing.assert_allclose(found, probs, atol=1e-5)
    _, bandwidth, powers = speed
    numbers = batch * taxonomy.num_classes
    floor = {
        "loss": max(12 * numbers / bandwidth, numbers / powers),
        "probs": max(8 * numbers / bandwidth, numbers / powers),
    }
    floor["both"] = floor["loss"] + floor["probs"]
    size = f"D {len(sizes)}, V {sum(sizes)}, U {taxonomy.num_classes}, B {batch}"
    rows: list[list[object]] = []
    for work, calls in sides.items():
        times = time_sides(calls, repeats=repeats, clock=clock)
        for side in ("loop", "stacked"):
            name = f"PyTorch, {side}"
            rows.append(row_of(work, size, threads, times["ours"], name, times[side], floor[work]))
    return rows


def measure(
    threads: int, *, quick: bool = False, repeats: int = 7, clock: Clock = time.perf_counter
) -> list[list[object]]:
    """Rows of the table for one thread count; the process must not have computed with JAX or PyTorch before.

    Universal classes are measured on one core alone: neither side would use more.
    """
    pin_threads(threads)
    import torch

    torch.set_num_threads(threads)
    speed = machine_speed(clock)
    rows = [
        measure_build(case, merge, clock=clock, speed=speed[1])
        for case in (BUILDS[:1] if quick else BUILDS)
        for merge in ("clique", "pair")
        if threads == 1
    ]
    for batch in BATCHES[:1] if quick else BATCHES:
        rows += measure_batch(batch, threads=threads, repeats=repeats, clock=clock, speed=speed)
    return rows


def main() -> None:
    """Run every thread count in a process of its own and print the tables."""
    found = run_benchmark("benchmarks.taxonomy_classes", __doc__, measure, quick="small cases", repeats=7)
    print(markdown_table(HEADERS, [row for rows in found for row in rows]))


if __name__ == "__main__":
    main()
