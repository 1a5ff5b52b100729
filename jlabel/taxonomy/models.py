"""Heads on frozen features, trained side by side: seeds, methods, taxonomies and hyper-parameters in one program."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import xlogy

from jlabel.taxonomy.baselines import Scheme
from jlabel.taxonomy.checks import TaxonomyError, as_matrix, check_choice, check_count, check_labels
from jlabel.taxonomy.network import DropoutHead, make_head

__all__ = ["BALANCES", "Balance", "Head", "HeadRun", "TrainedHeads", "fit_heads"]

Balance = Literal["proportional", "domain"]
BALANCES: tuple[Balance, ...] = ("proportional", "domain")
_LOW = -1e9  # logit of an output that a row's softmax leaves out


class HeadRun(NamedTuple):
    """One head to train.

    Attributes:
      scheme: what its outputs mean. train: rows of the pool it learns from. val: rows that choose the checkpoint.
      seed: of first weights and draws. learning_rate, weight_decay: AdamW's.
    """

    scheme: Scheme
    train: np.ndarray
    val: np.ndarray
    seed: int = 0
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2


@dataclass(frozen=True, eq=False)
class Head:
    """One trained head.

    Attributes:
      kind, hidden: of `make_head`. params: its parameters. scheme: what its outputs mean.
    """

    kind: str
    hidden: int
    params: Any
    scheme: Scheme

    def probs(self, features: np.ndarray, domain: int) -> np.ndarray:
        """Probabilities of one domain's own classes, float32 ``(N, C_a)``, for features ``(N, F)``."""
        own = np.flatnonzero(self.scheme.domain_of == domain)
        labels = np.full(len(features), own[0], np.int32)
        tables = {name: table[0] for name, table in _packed([self.scheme], self.scheme.num_outputs).items()}
        head = make_head(self.kind, self.scheme.num_outputs, self.hidden)
        found = _predictor(head)(self.params, tables, features, labels)
        return np.asarray(found)[:, own]


@dataclass(frozen=True, eq=False)
class TrainedHeads:
    """Heads as `fit_heads` leaves them: the parameters of each run's best evaluation.

    Attributes:
      params: with a leading axis R.
      val_accuracy: float ``(R,)``, mean of the domains' accuracies on validation rows at that evaluation.
      history: "loss", "kl", "val_accuracy" to float ``(R, evaluations)``; ``kl`` is the loss above its floor, the
        targets' entropy.
    """

    params: Any
    val_accuracy: np.ndarray
    history: dict[str, np.ndarray]
    _runs: tuple[HeadRun, ...]
    _kind: str
    _hidden: int
    _outputs: int

    def head(self, run: int) -> Head:
        """The head of one run, without the outputs that only widened it."""
        scheme = self._runs[run].scheme
        own = jax.tree.map(lambda x: np.asarray(x[run]), self.params)
        last = max(own["params"], key=lambda name: int(name.partition("_")[2]))
        own["params"][last] = {k: v[..., : scheme.num_outputs].copy() for k, v in own["params"][last].items()}
        return Head(self._kind, self._hidden, own, scheme)

    def take(self, runs: Sequence[int]) -> "TrainedHeads":
        """These runs only, such as those of one learning rate."""
        chosen = np.asarray(runs)
        return TrainedHeads(
            jax.tree.map(lambda x: x[chosen], self.params), self.val_accuracy[chosen],
            {name: values[chosen] for name, values in self.history.items()},
            tuple(self._runs[r] for r in chosen), self._kind, self._hidden, self._outputs,
        )  # fmt: skip

    def probs(self, features: np.ndarray, rows: Sequence[np.ndarray], domains: Sequence[int]) -> list[np.ndarray]:
        """What each run says of its rows (of the pool) in the classes of one domain: R float32 ``(n, C_a)``."""
        padded, real = _padded(rows)
        tables = self._tables()
        asked = np.array([np.argmax(own == d) for own, d in zip(tables["domain_of"], domains, strict=True)], np.int32)
        found = np.asarray(_asker(self._head())(self.params, tables, features, padded, asked))
        return [
            probs[keep][:, own == d]
            for probs, keep, own, d in zip(found, real, tables["domain_of"], domains, strict=True)
        ]

    def right(self, features: np.ndarray, labels: np.ndarray, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Whether each run answers its rows (of the pool) rightly in their domain's own classes: R bool ``(n,)``."""
        padded, real = _padded(rows)
        found = _scorer(self._head())(self.params, self._tables(), features, labels.astype(np.int32), padded)
        return [right[keep] for right, keep in zip(np.asarray(found), real, strict=True)]

    def _head(self) -> Any:
        return make_head(self._kind, self._outputs, self._hidden)

    def _tables(self) -> dict[str, np.ndarray]:
        return _packed([run.scheme for run in self._runs], self._outputs)


def fit_heads(
    features: np.ndarray,
    labels: np.ndarray,
    runs: Sequence[HeadRun],
    *,
    kind: str = "mlp",
    hidden: int = 64,
    steps: int = 600,
    batch_size: int = 64,
    evaluations: int = 20,
    balance: str = "proportional",
    outputs: int | None = None,
) -> TrainedHeads:
    """Trains R heads with AdamW, each on its own rows and scheme, and keeps each one's best checkpoint.

    The loss of a row of class y is ``-sum_u T[y, u] log p(u)`` over the outputs that its softmax holds. After every
    ``steps / evaluations`` steps the validation rows are scored in their domain's own classes; the parameters of the
    first evaluation with the best mean over domains stay, as the loss may rise while accuracy does too.

    Args:
      features: float32 ``(P, F)``, the pool that all runs draw from.
      labels: int ``(P,)``, classes in the flat order: domain 0's, then domain 1's, and so on.
      runs: R of them.
      kind, hidden: of `make_head`. steps: of each run; ``evaluations`` must divide it. batch_size: rows drawn a step,
        with replacement. balance: "proportional" draws every training row alike, "domain" every domain alike.
      outputs: at least this many outputs a head; those beyond a scheme's are never used, but calls with one number
        share a compiled program.

    Returns:
      `TrainedHeads`.

    Raises:
      TaxonomyError: no run, runs without training or validation rows, rows or labels out of range, features that are
        not finite, an unknown kind or balance.

    Example:
      >>> from jlabel.taxonomy.baselines import multi_head_scheme
      >>> x = np.repeat(np.eye(4, dtype=np.float32), 8, axis=0)
      >>> y, rows = np.repeat(np.arange(4), 8), np.arange(32)
      >>> found = fit_heads(x, y, [HeadRun(multi_head_scheme([2, 2]), rows, rows)], steps=100)
      >>> found.val_accuracy.tolist(), found.head(0).probs(x[:1], 0).argmax(1).tolist()
      ([1.0], [0])

    Source: the slides' universal model (Eq. 6 and 7, checkpoint by validation accuracy).
    """
    check_choice("balance", balance, BALANCES)
    for name, value in (("steps", steps), ("batch_size", batch_size), ("evaluations", evaluations)):
        check_count(name, value, low=1)
    if steps % evaluations:
        raise TaxonomyError(f"evaluations is {evaluations}; allowed: numbers that divide steps={steps}")
    if not len(runs):
        raise TaxonomyError("runs is empty: give at least one HeadRun")
    labels = check_labels("labels", labels, int(np.max(labels, initial=0)) + 1).astype(np.int32)
    features = as_matrix("features", features).astype(np.float32)
    if len(features) != len(labels):
        raise TaxonomyError(f"features has {len(features)} rows, labels {len(labels)}: give one label for each row")
    for r, run in enumerate(runs):
        for name, rows in (("train", run.train), ("val", run.val)):
            if not len(rows):
                raise TaxonomyError(f"runs[{r}].{name} is empty: a head needs training and validation rows")
            check_labels(f"runs[{r}].{name}", rows, len(labels))
            check_labels(f"labels of runs[{r}].{name}", labels[rows], len(run.scheme.targets))
    widest = max(outputs or 1, *(run.scheme.num_outputs for run in runs))
    packed = _packed([run.scheme for run in runs], widest)
    train, real = _padded([run.train for run in runs])
    val, val_real = _padded([run.val for run in runs])

    def shares(rows: np.ndarray, real: np.ndarray, alike: bool) -> np.ndarray:
        tables = zip(packed["domain_of"], rows, real, strict=True)
        return np.stack([_shares(domain_of[labels[own]], keep, alike) for domain_of, own, keep in tables])

    head = make_head(kind, widest, hidden)
    weights = shares(train, real, balance == "domain")
    shape = (evaluations, steps // evaluations, batch_size)
    first, drawn = [], []
    for run, rows, own in zip(runs, train, weights, strict=True):
        generator = np.random.default_rng(run.seed)
        first.append(_initial(head, make_head(kind, run.scheme.num_outputs, hidden), features, generator))
        drawn.append(rows[generator.choice(len(rows), size=shape, p=own)])
    inputs = {
        **packed,
        "params": jax.tree.map(lambda *leaves: np.stack(leaves), *first),
        "drawn": np.stack(drawn),
        "seed": np.array([run.seed for run in runs], np.uint32),
        "val": val,
        # The mean of the domains' accuracies, whatever the numbers of their rows.
        "val_weight": shares(val, val_real, True).astype(np.float32),
        "learning_rate": np.array([run.learning_rate for run in runs], np.float32),
        "weight_decay": np.array([run.weight_decay for run in runs], np.float32),
    }
    params, accuracy, history = _trainer(head)(inputs, features, labels)
    return TrainedHeads(
        params, np.minimum(np.asarray(accuracy, np.float64), 1),
        {name: np.asarray(values, np.float64) for name, values in history.items()},
        tuple(runs), kind, hidden, widest,
    )  # fmt: skip


def _padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of all runs in one table, ``(R, longest)``, and which of its places are real."""
    lengths = np.array([len(own) for own in rows])
    real = np.arange(lengths.max()) < lengths[:, None]
    table = np.zeros(real.shape, np.int32)
    table[real] = np.concatenate(rows)
    return table, real


def _shares(domains: np.ndarray, real: np.ndarray, alike: bool) -> np.ndarray:
    """Weights ``(n,)`` of a run's rows, which sum to 1: all rows alike, or all domains alike."""
    weights = real.astype(np.float64)
    if alike:
        weights /= np.maximum(np.bincount(domains, weights), 1)[domains]
    return weights / weights.sum()


def _initial(wide: Any, own: Any, features: np.ndarray, generator: np.random.Generator) -> Any:
    """First parameters: kernels normal with variance 1 / inputs, biases 0, and so are the outputs that widen the head.

    They are drawn here and at the width of the scheme, so that they do not depend on what a run stands beside.
    """

    def shapes(head: Any) -> Any:
        return jax.eval_shape(head.init, jax.random.key(0), jax.ShapeDtypeStruct((1, features.shape[1]), np.float32))

    def draw(own: Any, wide: Any) -> np.ndarray:
        kernel = len(own.shape) > 1
        values = generator.standard_normal(own.shape) / np.sqrt(own.shape[0]) if kernel else np.zeros(own.shape)
        missing = [(0, w - o) for w, o in zip(wide.shape, own.shape, strict=True)]
        return np.pad(values, missing).astype(np.float32)

    return jax.tree.map(draw, shapes(own), shapes(wide))


def _packed(schemes: Sequence[Scheme], outputs: int) -> dict[str, np.ndarray]:
    """Tables of all schemes ``(R, V, outputs)``; classes and outputs beyond a scheme's take no part."""
    most = -(-max(len(s.domain_of) for s in schemes) // 16) * 16  # so that like problems share a compiled program

    def table(name: str) -> np.ndarray:
        missing = [((0, most - len(s.domain_of)), (0, outputs - s.num_outputs)) for s in schemes]
        return np.stack([np.pad(getattr(s, name), pad) for s, pad in zip(schemes, missing, strict=True)])

    tables = {name: table(name) for name in ("targets", "columns", "readout")}
    domain_of = np.stack([np.pad(s.domain_of, (0, most - len(s.domain_of)), constant_values=-1) for s in schemes])
    # Outputs that a domain is read from, (R, V, outputs): the same for all classes of a domain.
    same = domain_of[:, :, None] == domain_of[:, None]
    owned = np.matmul(same.astype(np.float32), tables["readout"]) > 0
    return {**tables, "owned": owned, "domain_of": domain_of}


def _log_probs(logits: jax.Array, run: Any, labels: jax.Array) -> jax.Array:
    """Log-probabilities over the outputs that the softmax of a row of this class holds."""
    return jax.nn.log_softmax(jnp.where(run["columns"][labels], logits, _LOW))


def _domain_probs(logits: jax.Array, run: Any, labels: jax.Array) -> jax.Array:
    """Probabilities ``(n, V)`` of the classes of each row's domain, 0 for others; labels give the domain alone."""
    log_probs = _log_probs(logits, run, labels)
    # Relative to the domain's best output, so that not all of its classes underflow.
    best = jnp.max(jnp.where(run["owned"][labels], log_probs, -jnp.inf), axis=1, keepdims=True)
    scores = jnp.exp(jnp.minimum(log_probs - best, 0)) @ run["readout"].T
    scores = jnp.where(run["domain_of"][labels][:, None] == run["domain_of"][None], scores, 0)
    return scores / jnp.maximum(scores.sum(1, keepdims=True), jnp.finfo(jnp.float32).tiny)


@functools.lru_cache(maxsize=32)
def _predictor(head: Any) -> Any:
    @jax.jit
    def predict(params: Any, run: Any, features: jax.Array, labels: jax.Array) -> jax.Array:
        logits: Any = head.apply(params, features)
        return _domain_probs(logits, run, labels)

    return predict


@functools.lru_cache(maxsize=32)
def _asker(head: Any) -> Any:
    @jax.jit
    def ask(params: Any, packed: Any, features: jax.Array, rows: jax.Array, asked: jax.Array) -> jax.Array:
        def one(run: Any) -> jax.Array:
            own, tables, places, label = run
            logits: Any = head.apply(own, features[places])
            return _domain_probs(logits, tables, jnp.full(places.shape, label))

        return jax.lax.map(one, (params, packed, rows, asked))

    return ask


@functools.lru_cache(maxsize=32)
def _scorer(head: Any) -> Any:
    def right(params: Any, run: Any, rows: jax.Array, features: Any, labels: Any) -> jax.Array:
        own = labels[rows]
        logits: Any = head.apply(params, features[rows])
        return _domain_probs(logits, run, own).argmax(1) == own

    @jax.jit
    def score(params: Any, packed: Any, features: Any, labels: Any, rows: Any) -> jax.Array:
        one = functools.partial(right, features=features, labels=labels)
        return jax.lax.map(lambda run: one(*run), (params, packed, rows))

    return score


@functools.lru_cache(maxsize=32)
def _trainer(head: Any) -> Any:
    """The compiled program: ``(inputs, features, labels)``, the first with a leading axis R."""

    def loss_fn(params: Any, run: Any, x: jax.Array, y: jax.Array, step: jax.Array) -> Any:
        drop = isinstance(head, DropoutHead)
        rngs = {"dropout": jax.random.fold_in(jax.random.key(run["seed"]), step)} if drop else None
        logits: Any = head.apply(params, x, rngs=rngs)
        targets = run["targets"][y]
        loss = -jnp.mean(jnp.sum(targets * _log_probs(logits, run, y), axis=1))
        return loss, loss + jnp.mean(jnp.sum(xlogy(targets, targets), axis=1))

    def train(run: Any, features: jax.Array, labels: jax.Array) -> Any:
        optimizer = optax.adamw(run["learning_rate"], weight_decay=run["weight_decay"])

        def step(carry: Any, rows: jax.Array) -> Any:
            params, state, number = carry
            gradients = jax.value_and_grad(loss_fn, has_aux=True)
            value, gradient = gradients(params, run, features[rows], labels[rows], number)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state, number + 1), value

        def evaluate(carry: Any, drawn: jax.Array) -> Any:
            learning, best, highest = carry
            learning, (losses, kls) = jax.lax.scan(step, learning, drawn)
            params = learning[0]
            held = labels[run["val"]]
            logits: Any = head.apply(params, features[run["val"]])
            probs = _domain_probs(logits, run, held)
            accuracy = jnp.sum(run["val_weight"] * (probs.argmax(1) == held))
            better = accuracy > highest + 1e-6
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, best)
            now = {"loss": losses.mean(), "kl": kls.mean(), "val_accuracy": accuracy}
            return (learning, best, jnp.maximum(accuracy, highest)), now

        learning = (run["params"], optimizer.init(run["params"]), jnp.int32(0))
        start = (learning, run["params"], jnp.float32(-1))
        (_, best, highest), history = jax.lax.scan(evaluate, start, run["drawn"])
        return best, highest, history

    return jax.jit(jax.vmap(train, in_axes=(0, None, None)))
