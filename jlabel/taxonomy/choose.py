"""Which rule chooses the relations: the one whose universal model does best on validation rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jlabel.taxonomy.baselines import universal_scheme
from jlabel.taxonomy.checks import TaxonomyError, check_count
from jlabel.taxonomy.models import HeadRun, fit_heads
from jlabel.taxonomy.relations import Relations, find_relations
from jlabel.taxonomy.selection import Method
from jlabel.taxonomy.universal import build_taxonomy

__all__ = ["CANDIDATES", "Candidate", "Fold", "RelationChoice", "choose_relations"]

_OUTPUTS = 64  # outputs of probes come in such steps, so that like problems share a compiled program
_FEW = 512  # up to here probes of any number of outputs are trained together; beyond, only those of like numbers


@dataclass(frozen=True)
class Candidate:
    """A rule with its parameter: ``method`` and other ``options`` of `find_relations`."""

    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)

    def find(
        self, cross: Mapping[tuple[int, int], ArrayLike], *, domains: Sequence[str],
        class_names: Sequence[Sequence[str]],
    ) -> Relations:  # fmt: skip
        """The relations that the rule chooses, see `find_relations`."""
        return find_relations(cross, domains=domains, class_names=class_names, method=self.method, **self.options)

    def __str__(self) -> str:
        return " ".join([self.method, *(str(value) for value in self.options.values())])


CANDIDATES: tuple[Candidate, ...] = (
    *(Candidate("threshold", {"threshold": t}) for t in (0.1, 0.2, 0.3, 0.4, 0.5)),
    Candidate("top"),
    *(Candidate("density", {"density": p}) for p in (0.4, 0.5, 0.6, 0.7, 0.8)),
    Candidate("hypothesis"),
)


class Fold(NamedTuple):
    """Rows to learn from and rows to judge by.

    Attributes:
      cross: cross-predictions of every ordered pair, as for `find_relations`, on the rows ``train`` alone: where the
        judging rows take part in them, rules that keep many edges fit those rows and look better than they are.
      train: numbers of the rows that probes learn from. val: of the rows that judge them.
    """

    cross: Mapping[tuple[int, int], ArrayLike]
    train: np.ndarray
    val: np.ndarray


class RelationChoice(NamedTuple):
    """The rule chosen from data.

    Attributes:
      candidate: the rule. candidates: the K rules that were tried.
      val_accuracy: float ``(K,)``, accuracy of each one's probes, the mean over domains, repeats and folds.
    """

    candidate: Candidate
    candidates: tuple[Candidate, ...]
    val_accuracy: np.ndarray


def choose_relations(
    folds: Sequence[Fold],
    features: np.ndarray,
    labels: np.ndarray,
    *,
    domains: Sequence[str],
    class_names: Sequence[Sequence[str]],
    candidates: Sequence[Candidate] = CANDIDATES,
    merge: str = "clique",
    convert: str = "membership",
    balance: str = "proportional",
    repeats: int = 3,
    kind: str = "mlp",
    hidden: int = 64,
    steps: int = 400,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    weight_decay: float = 1.0,
    seed: int = 0,
) -> RelationChoice:
    """Chooses method and parameter by the validation accuracy of cheap universal models on frozen features.

    For each candidate and fold the relations and universal classes are made, and a head on the features is trained
    ``repeats`` times on the training rows. The candidate with the highest mean accuracy on the fold's other rows wins,
    the first of equal ones. Graph scores need the truth and do not say which taxonomy trains best; this needs neither
    truth nor test rows.

    Args:
      folds: one or more; of two, each can judge the other's training rows.
      features: float32 ``(P, F)``, rows of all domains. labels: int ``(P,)``, their classes in the flat order.
      domains, class_names: as for `find_relations`. candidates: K rules.
      merge: of `build_taxonomy`. convert: of `universal_scheme`.
      balance, kind, hidden, steps, batch_size: of `fit_heads`. learning_rate, weight_decay: AdamW's.
      repeats: heads per candidate, of seeds ``repeats * seed``, ``repeats * seed + 1``, and so on.
      seed: of first weights and draws.

    Returns:
      `RelationChoice`; ``candidate.find`` then finds the relations in cross-predictions on all rows.

    Raises:
      TaxonomyError: no candidate, no fold, or what `find_relations`, `build_taxonomy` or `fit_heads` refuse.

    Example:
      >>> x = np.tile(np.eye(2, dtype=np.float32), (20, 1))
      >>> y = np.tile([0, 1, 2, 3], 10)  # the second domain's classes look like the first's
      >>> cross, names = {(0, 1): np.eye(2), (1, 0): np.eye(2)}, [["cat", "dog"], ["Katze", "Hund"]]
      >>> fold = Fold(cross, np.arange(20), np.arange(20, 40))
      >>> found = choose_relations([fold], x, y, domains=["a", "b"], class_names=names, steps=20)
      >>> str(found.candidate), found.candidate.find(cross, domains=["a", "b"], class_names=names).edges.sum().item()
      ('threshold 0.1', 4)

    Source: the slides' open gap between graph scores and accuracy.
    """
    check_count("repeats", repeats, low=1)
    if not len(candidates):
        raise TaxonomyError("candidates is empty: give at least one rule")
    if not len(folds):
        raise TaxonomyError("folds is empty: give at least one Fold")
    runs = []
    for fold in folds:
        for candidate in candidates:
            relations = candidate.find(fold.cross, domains=domains, class_names=class_names)
            scheme = universal_scheme(build_taxonomy(relations, merge=merge), convert=convert)
            runs += [
                HeadRun(scheme, fold.train, fold.val, repeats * seed + r, learning_rate, weight_decay)
                for r in range(repeats)
            ]
    outputs = np.array([run.scheme.num_outputs for run in runs])
    group = np.ceil(np.log2(np.maximum(outputs / _FEW, 1)))
    found = np.zeros(len(runs))
    for one in np.unique(group):
        (places,) = np.nonzero(group == one)
        probes = fit_heads(
            features, labels, [runs[r] for r in places], kind=kind, hidden=hidden, steps=steps, batch_size=batch_size,
            balance=balance, outputs=-(-int(outputs[places].max()) // _OUTPUTS) * _OUTPUTS,
        )  # fmt: skip
        found[places] = probes.val_accuracy
    accuracy = found.reshape(len(folds), len(candidates), repeats).mean((0, 2))
    best = int(np.argmax(accuracy >= accuracy.max() - 1e-6))
    return RelationChoice(candidates[best], tuple(candidates), accuracy)
