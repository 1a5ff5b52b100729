"""Transfer between teachers: on a disagreement one teacher tells the other, which predicts again.

Targets do not depend on the student, so they are computed once, before it is trained.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.special import expit

from jlabel.amalgamation.checks import check_choice, check_count
from jlabel.amalgamation.labels import label_union
from jlabel.amalgamation.teachers import Teacher, as_teachers
from jlabel.amalgamation.trust import Trust

_BLOCK = 65536  # rows whose revisions are asked for at a time: bounds memory, whatever the number of triples


class TransferResult(NamedTuple):
    """Targets of the student, and how they came about; N rows, L labels of the union, M teachers.

    Attributes:
      targets: float32 ``(N, L)``, probabilities.
      disagreement: bool ``(N, L)``, where first predictions of the teachers that know the label differ.
      transfers: bool ``(N, triples)``, where the triple's source told its target, in any round.
      revised: bool ``(N, M)``, where the teacher predicted again, in any round.
      label_names: the L columns, in order of their first appearance.
      triples: ``(label, source, target)`` as in `transfer_triples`.
      teacher_names: M names.
      label_sets: M label sets.
      revisable: M, whether the teacher can be revised at all.
      first_logits: M arrays ``(N, L_t)``, what each teacher said before any transfer.
      last_logits: M arrays ``(N, L_t)``, what each teacher said in the end, its revisions merged by Eq. 5.
    """

    targets: np.ndarray
    disagreement: np.ndarray
    transfers: np.ndarray
    revised: np.ndarray
    label_names: tuple[str, ...]
    triples: tuple[tuple[str, int, int], ...]
    teacher_names: tuple[str, ...]
    label_sets: tuple[tuple[str, ...], ...]
    revisable: tuple[bool, ...]
    first_logits: tuple[np.ndarray, ...]
    last_logits: tuple[np.ndarray, ...]


def transfer_triples(label_sets: Sequence[Sequence[str]]) -> tuple[tuple[str, int, int], ...]:
    """Lists who can tell whom what: each shared label with each ordered pair of teachers that know it.

    Args:
      label_sets: M lists of label names.

    Returns:
      ``(label, source, target)``, by label in order of first appearance, then source, then target.

    Example:
      >>> transfer_triples([("car", "tree"), ("car", "street")])
      (('car', 0, 1), ('car', 1, 0))

    Source: ANT, "Transfer Indicator".
    """
    return tuple(
        (label, source, target)
        for label in label_union(label_sets)
        for source, told in enumerate(label_sets)
        for target, asked in enumerate(label_sets)
        if source != target and label in told and label in asked
    )


def integrate_probs(probs: ArrayLike, known: ArrayLike) -> jax.Array:
    """Takes one probability for each label out of several candidates.

        P[j] = min_k p[k, j]  if all p[k, j] <= 0.5,  else  max_k p[k, j],    over the k that know label j

    Args:
      probs: ``(K, L)``, candidates, in [0, 1]; what stands where ``known`` is false does not matter, NaN included.
      known: ``(K, L)`` bool, which candidates know the label.

    Returns:
      ``(L,)``; NaN for a label that no candidate knows.

    Example:
      >>> integrate_probs([[0.6, 0.4, 0.7], [0.8, 0.2, 0.9]], [[True, True, True], [True, True, False]]).tolist()
      [0.800000011920929, 0.20000000298023224, 0.699999988079071]

    Source: ANT, Eq. 5.
    """
    probs, known = jnp.asarray(probs), jnp.asarray(known, bool)
    low = jnp.min(jnp.where(known, probs, jnp.inf), axis=0)
    high = jnp.max(jnp.where(known, probs, -jnp.inf), axis=0)
    return jnp.where(known.any(axis=0), jnp.where(high > 0.5, high, low), jnp.nan)


def transfer_targets(
    models: Mapping[str, Any] | Sequence[Any],
    features: Any,
    *,
    rounds: int = 1,
    other_logits: Literal["initial", "final"] = "initial",
    keep_unrevised: bool = False,
    trust: Trust | None = None,
) -> TransferResult:
    """Lets teachers that disagree tell each other, and integrates what they say into targets.

    On each row, where teacher m says label c is positive (probability above 0.5) and n says it is not, m transfers its
    logit: n predicts once more with ``l_0[c] = v_m[c]``, once per transfer. A teacher's revisions replace its first
    prediction; `integrate_probs` makes one target of all that stands then. Rows are independent of each other.

    Args:
      models: M teachers, named or in a sequence: `ChainModel`, `Teacher`, or what `as_teacher` takes without names.
        Those that cannot be revised tell but are never told; ``transfers`` still counts what they were offered.
      features: rows as the teachers take them, ``(N, D)`` array or DataFrame.
      rounds: at least 1. A later round repeats the comparison on what the teachers say then, each teacher's
        revisions merged by Eq. 5; all transfers of a round start from one state. Ends early where nothing changes.
      other_logits: the first logits of a revision besides the label told, "initial": the teacher's own ``W x + b``;
        "final": its final logits.
      keep_unrevised: a revised teacher's first prediction counts beside its revisions.
      trust: who is right on a disagreement, from `earn_trust`; None: the positive one. With trust the side of the
        trusted probability is right, so that a negative logit may be transferred as well; the trusted probability
        takes the place of Eq. 5 on shared labels; and a revised teacher's other labels get the mean of its first
        and its revised logit.

    Returns:
      `TransferResult`.

    Raises:
      AmalgamationError: what a teacher says has a wrong shape, NaN, or no probability; see `as_teacher`.

    Source: ANT, "Proposed Method"; Eq. 1 to 5.
    """
    check_count("rounds", rounds)
    check_choice("other_logits", other_logits, ("initial", "final"))
    teachers = as_teachers(models)
    label_sets = tuple(teacher.label_names for teacher in teachers)
    plan = _make_plan(label_sets)
    first = [teacher.logits(features) for teacher in teachers]
    trusted = None if trust is None else trust.probs(teachers, first)
    right = np.True_ if trusted is None else ~(trusted <= 0.5)  # NaN, a label without earned trust: positive
    right = np.broadcast_to(right, (len(first[0]), len(plan.label_names)))
    state = first
    fired = np.zeros((len(first[0]), len(plan.triples)), bool)
    for _ in range(rounds):
        fires = _fires(plan, state, right)
        before, fired = state, fired | fires
        state = [
            _revise(teacher, features, plan.incoming(t), before, t, fires, keep_others=other_logits == "final")
            for t, teacher in enumerate(teachers)
        ]
        if all(np.array_equal(old, new) for old, new in zip(before, state, strict=True)):
            break
    # Where trust is weighed, a revision is a second opinion of the same teacher, no better than its first.
    last = state if trust is None else [(old + new) / 2 for old, new in zip(first, state, strict=True)]
    probs = expit(integrate_logits(label_sets, [*last, *first] if keep_unrevised else last))
    revised = [
        fired[:, [link.place for link in plan.incoming(t)]].any(axis=1) & teacher.revisable
        for t, teacher in enumerate(teachers)
    ]
    return TransferResult(
        probs if trusted is None else np.where(np.isnan(trusted), probs, trusted),
        _disagreement(plan, first),
        fired,
        np.stack(revised, axis=1),
        plan.label_names,
        plan.triples,
        tuple(teacher.name for teacher in teachers),
        label_sets,
        tuple(teacher.revisable for teacher in teachers),
        tuple(first),
        tuple(state),
    )


class _Link(NamedTuple):
    """A triple as places: its own, of the label in the union, in the source and in the target."""

    place: int
    label: int
    source: int
    source_label: int
    target: int
    target_label: int


class _Plan(NamedTuple):
    """The union, the triples, and where each teacher's labels stand in the union."""

    label_names: tuple[str, ...]
    triples: tuple[tuple[str, int, int], ...]
    links: tuple[_Link, ...]
    columns: tuple[np.ndarray, ...]

    def incoming(self, teacher: int) -> list[_Link]:
        return [link for link in self.links if link.target == teacher]


def _make_plan(label_sets: Sequence[tuple[str, ...]]) -> _Plan:
    label_names, triples = label_union(label_sets), transfer_triples(label_sets)
    place = {label: j for j, label in enumerate(label_names)}
    links = tuple(
        _Link(k, place[label], source, label_sets[source].index(label), target, label_sets[target].index(label))
        for k, (label, source, target) in enumerate(triples)
    )
    return _Plan(label_names, triples, links, _columns(label_sets))


def _columns(label_sets: Sequence[Sequence[str]]) -> tuple[np.ndarray, ...]:
    """Where each teacher's labels stand in the union."""
    place = {label: j for j, label in enumerate(label_union(label_sets))}
    return tuple(np.array([place[label] for label in names]) for names in label_sets)


def _fires(plan: _Plan, state: Sequence[np.ndarray], right: np.ndarray) -> np.ndarray:
    """Where a source says what is right and its target does not: bool ``(N, triples)``."""
    fires = np.empty((len(right), len(plan.links)), bool)
    for link in plan.links:
        says = right[:, link.label]
        source = state[link.source][:, link.source_label] > 0
        target = state[link.target][:, link.target_label] > 0
        fires[:, link.place] = (source == says) & (target != says)
    return fires


def _revise(
    teacher: Teacher,
    features: Any,
    links: Sequence[_Link],
    state: Sequence[np.ndarray],
    number: int,
    fires: np.ndarray,
    *,
    keep_others: bool,
) -> np.ndarray:
    """What one teacher says after the transfers of a round, its revisions of a row merged by Eq. 5: ``(N, L_t)``."""
    told = fires[:, [link.place for link in links]]
    rows = np.flatnonzero(told.any(axis=1))
    if not teacher.revisable or not len(rows):
        return state[number]
    source_columns = np.array([(link.source, link.source_label) for link in links])
    merged = state[number].copy()
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        where, which = np.nonzero(told[block])  # requests, in the order of their rows
        asked = block[where]
        initial = merged[asked] if keep_others else np.full((len(asked), merged.shape[1]), np.nan, np.float32)
        for k, (source, column) in enumerate(source_columns):
            mine = which == k
            initial[mine, links[k].target_label] = state[source][asked[mine], column]
        said = teacher.revise(features, asked, initial)
        merged[block] = _confident(
            *(
                extreme.reduceat(said, np.searchsorted(where, np.arange(len(block))))
                for extreme in (np.minimum, np.maximum)
            )
        )
    return merged


def _confident(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Eq. 5 on logits, whose order is that of probabilities: the highest if it is positive, else the lowest."""
    return np.where(high > 0, high, low)


def integrate_logits(label_sets: Sequence[Sequence[str]], candidates: Sequence[np.ndarray]) -> np.ndarray:
    """Eq. 5 over the logits of all teachers, once or several times in their order: float32 ``(N, L)``."""
    columns_of = _columns(label_sets)
    shape = (len(candidates[0]), len(label_union(label_sets)))
    low, high = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    for k, logits in enumerate(candidates):
        columns = columns_of[k % len(columns_of)]
        low[:, columns] = np.minimum(low[:, columns], logits)
        high[:, columns] = np.maximum(high[:, columns], logits)
    return _confident(low, high)


def _disagreement(plan: _Plan, first: Sequence[np.ndarray]) -> np.ndarray:
    """Where teachers differ on a label's sign: bool ``(N, L)``."""
    shape = (len(first[0]), len(plan.label_names))
    positive, negative = np.zeros(shape, bool), np.zeros(shape, bool)
    for columns, logits in zip(plan.columns, first, strict=True):
        positive[:, columns] |= logits > 0
        negative[:, columns] |= logits <= 0
    return positive & negative
