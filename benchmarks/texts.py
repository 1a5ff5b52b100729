"""MiniLM and a bidirectional LSTM on texts against PyTorch and transformers: `python -m benchmarks.texts`.

Two tables: embedding with frozen MiniLM-L6, from ids and from 2,000 texts of mixed length; training steps (value,
gradient, AdamW) of MiniLM and of a BiLSTM. Both sides have the same weights; equal rows (to 1e-4) and equal
losses are asserted first, then the sides take turns. Each thread count gets a process of its own, pinned to so many
cores. Needs `pip install -r benchmarks/requirements.txt` and `make weights`. About twenty minutes on two idle cores;
`--quick` takes one. On a busy machine use `--threads=1 --clock=cpu`, or do not believe the ratios.

Peers: `transformers.BertModel` with sdpa attention, in eval mode (our training has no dropout either) and, for
embedding, inference_mode; its texts are sorted by length and each batch is padded to its longest row, as
`SentenceTransformer.encode` does, while ours are padded to few lengths, each of which compiles once
(`jlabel.data.encode_texts`, whose file cache each call writes anew). `nn.LSTM` in both directions: plain where all rows
are full, on packed rows where they are not. AdamW is PyTorch's fused one. "times PyTorch" is its time over ours: above
1 we are faster.

The floor: 2 x (multiply-adds of the matrix products) operations forward, three times as many in a training step, over
the measured rate of a 1024 x 1024 float32 matrix product; of a training step also 28 bytes for each parameter (AdamW
reads four arrays of its size and writes three) over the measured speed of arithmetic in place. "x floor" is our time
over it.
"""

import functools
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.timing import Timing, compare, markdown_table, pin_threads, ratio, run_benchmark

Clock = Callable[[], float]
Rows = Callable[[], np.ndarray]

# batch, tokens a row
EMBEDDINGS = ((1, 32), (8, 32), (32, 32), (128, 32), (32, 128))
TRAININGS = ((8, 32), (32, 32), (8, 128), (32, 128))
# whether all rows are full
LSTMS = (True, False)
TEXTS = 2000
PEER_BATCH = 32  # the default of sentence-transformers; at 64 it takes 1.16 times as long
CLASSES = 20
WIDTH, INNER, LAYERS, VOCABULARY = 384, 1536, 6, 30522
LSTM_BATCH, LSTM_LENGTH, LSTM_HIDDEN, LSTM_WORDS, LSTM_VOCABULARY = 64, 40, 128, 100, 2000
ADAMW = {"lr": 1e-4, "weight_decay": 1e-2}

EMBED_HEADERS = (
    "MiniLM-L6, frozen", "threads", "ours ms", "PyTorch ms", "times PyTorch (quartiles)", "our tokens/s", "x floor",
)  # fmt: skip
STEP_HEADERS = ("training step", "threads", "ours ms", "PyTorch ms", "times PyTorch (quartiles)", "x floor")


def _speed(clock: Clock) -> tuple[float, float]:
    """Operations a second of a matrix product, and bytes a second of arithmetic in place (read and written)."""
    import torch

    a, b = torch.ones(1024, 1024), torch.ones(1024, 1024)
    numbers = torch.ones(1 << 25)
    times = compare({"matmul": lambda: a @ b, "scale": lambda: numbers.mul_(1.0)}, repeats=20, clock=clock)
    return 2 * 1024**3 / times["matmul"].low, 8 * numbers.numel() / times["scale"].low


def _minilm_operations(batch: int, length: int) -> int:
    """Floating point operations of the matrix products, forward."""
    weights = 4 * WIDTH * WIDTH + 2 * WIDTH * INNER
    return 2 * batch * length * LAYERS * (weights + 2 * length * WIDTH)


def _quotient(peer: Timing, ours: Timing) -> str:
    """PyTorch's time over ours with its quartiles."""
    relative = ratio(peer, ours)
    return f"{relative.median:.2f} ({relative.low:.2f} to {relative.high:.2f})"


def _random_ids(batch: int, length: int, vocabulary: int, *, full: bool = True) -> np.ndarray:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, vocabulary, (batch, length)).astype(np.int32)
    lengths = rng.integers(length // 8, length + 1, batch)
    lengths[0] = length
    return ids if full else np.where(np.arange(length) < lengths[:, None], ids, 0)


def _random_texts(words: Sequence[str], count: int) -> list[str]:
    """Texts of about 4 to 60 words of the vocabulary, some longer, with half of them at most 15 words long."""
    rng = np.random.default_rng(0)
    plain = np.array([word for word in words if word.isascii() and word.isalpha()])
    lengths = np.clip(np.exp(rng.normal(np.log(15), 0.8, count)), 1, 250).astype(int)
    return [" ".join(rng.choice(plain, n)) for n in lengths]


def _check_rows(name: str, ours: np.ndarray, peer: np.ndarray) -> None:
    if (worst := float(np.max(np.abs(ours - peer)))) > 1e-4:
        raise SystemExit(f"{name}: the rows differ by {worst:.2g}")


def _embeddings(*, quick: bool, threads: int, repeats: int, clock: Clock, rate: float) -> list[list[object]]:
    import jax

    from benchmarks.torch_texts import MiniLM, embed_call, pipeline
    from jlabel.data import encode_texts, from_arrays
    from jlabel.networks import find_minilm, text_encoder

    encoder, peer = text_encoder("minilm"), MiniLM(find_minilm())
    assert encoder.tokenizer is not None
    tokenize, max_length = encoder.tokenizer.encode, encoder.tokenizer.max_length
    params = encoder.init(jax.random.key(0))
    apply = jax.jit(encoder.apply)

    def encode_rows(ids: np.ndarray) -> np.ndarray:
        return np.asarray(apply(params, ids))

    def encode_source() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            return encode_texts(source, encode_rows, tokenize, identity="x", max_length=max_length, cache_dir=folder)

    rows: list[list[object]] = []

    def add(name: str, ours: Rows, theirs: Rows, tokens: int, work: int, *, rounds: int = repeats) -> None:
        _check_rows(name, ours(), theirs())
        times = compare({"ours": ours, "peer": theirs}, repeats=rounds, warmup=1, clock=clock)
        seconds = times["ours"].median
        rows.append([
            name, threads, seconds * 1e3, times["peer"].median * 1e3, _quotient(times["peer"], times["ours"]),
            tokens / seconds, seconds * rate / work,
        ])  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)

    for batch, length in EMBEDDINGS[1:3] if quick else EMBEDDINGS:
        ids = _random_ids(batch, length, VOCABULARY)
        ours = functools.partial(encode_rows, ids)
        add(f"B {batch}, L {length}", ours, embed_call(peer, ids), ids.size, _minilm_operations(batch, length))
    texts = _random_texts(encoder.tokenizer.words, TEXTS // 10 if quick else TEXTS)
    source, whole = from_arrays({"text": texts}, label_names=()), pipeline(peer, find_minilm(), max_length=max_length)
    lengths = [len(row) for row in tokenize(texts)]
    work = sum(_minilm_operations(1, length) for length in lengths)
    theirs = functools.partial(whole, texts, PEER_BATCH)
    add(f"{len(texts)} texts, tokenised", encode_source, theirs, sum(lengths), work, rounds=max(1, repeats // 3))
    return rows


def _train_call(apply: Callable[..., Any], params: Any, ids: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """A call that makes one step and returns the loss before it."""
    import jax
    import jax.numpy as jnp
    import optax

    optimizer = optax.adamw(ADAMW["lr"], weight_decay=ADAMW["weight_decay"])

    def loss_fn(params: Any, ids: jax.Array, labels: jax.Array) -> jax.Array:
        logits = apply(params["network"], ids) @ params["kernel"]
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def step(carry: Any, ids: jax.Array, labels: jax.Array) -> Any:
        params, moments = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, ids, labels)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    params = jax.tree.map(jnp.array, params)
    carry, x, y = [(params, optimizer.init(params))], jnp.asarray(ids), jnp.asarray(labels)

    def call() -> float:
        carry[0], loss = jax.block_until_ready(step(carry[0], x, y))
        return float(loss)

    return call


def _check_losses(name: str, sides: dict[str, Callable[[], float]]) -> None:
    """Equal losses in the first three steps: the second and third are equal only if the gradients and updates are."""
    for step in range(3):
        losses = [side() for side in sides.values()]
        if max(losses) - min(losses) > 1e-3 * max(losses):
            raise SystemExit(f"{name}: the losses differ in step {step}: {dict(zip(sides, losses, strict=True))}")


def _trainings(
    *, quick: bool, threads: int, repeats: int, clock: Clock, rate: float, bandwidth: float
) -> list[list[object]]:
    import jax

    from benchmarks.torch_texts import BiLSTM as TorchBiLSTM
    from benchmarks.torch_texts import Classifier, MiniLM, train_call
    from jlabel.networks import BiLSTM, find_minilm, text_encoder

    rng = np.random.default_rng(0)
    rows: list[list[object]] = []

    def add(name: str, sides: dict[str, Callable[[], float]], operations: int, parameters: int) -> None:
        _check_losses(name, sides)
        times = compare({**sides}, repeats=repeats, clock=clock)
        peer = times.pop("PyTorch")
        floor = 3 * operations / rate + 28 * parameters / bandwidth
        for side, ours in times.items():
            seconds = ours.median
            rows.append([
                name + side, threads, seconds * 1e3, peer.median * 1e3, _quotient(peer, ours), seconds / floor
            ])  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)

    encoders = {"": text_encoder("minilm"), ", remat": text_encoder("minilm", remat=True)}
    network = encoders[""].init(jax.random.key(0))
    kernel = rng.normal(size=(WIDTH, CLASSES)).astype(np.float32)
    for batch, length in TRAININGS[:1] if quick else TRAININGS:
        ids, labels = _random_ids(batch, length, VOCABULARY), rng.integers(0, CLASSES, batch).astype(np.int32)
        sides = {
            side: _train_call(encoder.apply, {"network": network, "kernel": kernel}, ids, labels)
            for side, encoder in encoders.items()
        }
        sides["PyTorch"] = train_call(Classifier(MiniLM(find_minilm()), kernel), ids, labels, **ADAMW)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(network))
        add(f"MiniLM-L6, B {batch}, L {length}", sides, _minilm_operations(batch, length), parameters)

    module = BiLSTM(LSTM_VOCABULARY, LSTM_WORDS, LSTM_HIDDEN)
    variables = module.init(jax.random.key(0), np.ones((1, 2), np.int32))
    kernel = rng.normal(size=(2 * LSTM_HIDDEN, CLASSES)).astype(np.float32)
    for full in LSTMS:
        ids = _random_ids(LSTM_BATCH, LSTM_LENGTH, LSTM_VOCABULARY, full=full)
        labels = rng.integers(0, CLASSES, LSTM_BATCH).astype(np.int32)
        lstm = TorchBiLSTM(jax.tree.map(np.asarray, variables["params"]), packed=not full)
        sides = {
            "": _train_call(module.apply, {"network": variables, "kernel": kernel}, ids, labels),
            "PyTorch": train_call(Classifier(lstm, kernel), ids, labels, **ADAMW),
        }
        operations = 2 * int(np.count_nonzero(ids)) * 2 * 4 * LSTM_HIDDEN * (LSTM_WORDS + LSTM_HIDDEN)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
        kind = "full rows" if full else f"rows of {LSTM_LENGTH // 8} to {LSTM_LENGTH}"
        add(f"BiLSTM, B {LSTM_BATCH}, {kind}", sides, operations, parameters)
    return rows


def measure(*, quick: bool, threads: int, repeats: int, clock: Clock) -> list[list[list[object]]]:
    """Rows of both tables for one thread count; the process must not have imported JAX or PyTorch before."""
    pin_threads(threads)
    import torch

    torch.set_num_threads(threads)
    rate, bandwidth = _speed(clock)
    print(f"{rate / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s", file=sys.stderr, flush=True)
    common: dict[str, Any] = {"quick": quick, "threads": threads, "repeats": repeats, "clock": clock, "rate": rate}
    return [_embeddings(**common), _trainings(**common, bandwidth=bandwidth)]


def main() -> None:
    """Run every thread count in a process of its own and print the tables."""
    found = run_benchmark("benchmarks.texts", __doc__, measure, quick="a few small cases, one minute", repeats=10)
    for headers, tables in zip((EMBED_HEADERS, STEP_HEADERS), zip(*found, strict=True), strict=True):
        print(markdown_table(headers, [row for rows in tables for row in rows]), end="\n\n")


if __name__ == "__main__":
    main()
