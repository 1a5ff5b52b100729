"""What the universal model is measured against, each as a `Scheme`: what its outputs mean to every domain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike

from jlabel.taxonomy.checks import check_choice, check_labels
from jlabel.taxonomy.universal import Taxonomy

__all__ = [
    "CONVERSIONS",
    "Scheme",
    "majority_class",
    "multi_head_scheme",
    "single_scheme",
    "union_scheme",
    "universal_scheme",
]

CONVERSIONS = ("membership", "weight")


@dataclass(frozen=True, eq=False)
class Scheme:
    """What the U outputs of a network mean to the V classes of all domains, which stand in one flat order.

    Attributes:
      targets: float32 ``(V, U)``; rows sum to 1 (to 0 for classes that the network does not learn).
      columns: bool ``(V, U)``; outputs in the softmax of a row of that class, the same for all classes of a domain.
      readout: float32 ``(V, U)``; a class's probability is ``readout @ p`` over the sum of its domain's.
      domain_of: int32 ``(V,)``, domain of each class.
    """

    targets: np.ndarray
    columns: np.ndarray
    readout: np.ndarray
    domain_of: np.ndarray

    @property
    def num_outputs(self) -> int:
        """``U``."""
        return self.targets.shape[1]


def universal_scheme(taxonomy: Taxonomy, *, convert: str = "membership") -> Scheme:
    """One softmax over the universal classes, targets ``T_a = W_a / row sums``, read out as `domain_probs` does.

    Args:
      taxonomy: the taxonomy. convert: "membership" or "weight", see `domain_probs`.

    Returns:
      The scheme, ``U = taxonomy.num_classes``.

    Raises:
      TaxonomyError: another ``convert``.

    Example:
      >>> taxonomy = Taxonomy(("a", "b"), (("x", "y"), ("z", "w")), (((0, 0),), ((0, 1), (1, 0)), ((1, 1),)),
      ...     (np.array([[1.0, 0, 0], [0, 0.5, 0]]), np.array([[0, 0.5, 0], [0, 0, 1.0]])))
      >>> universal_scheme(taxonomy).readout.tolist()
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    check_choice("convert", convert, CONVERSIONS)
    weights = np.concatenate(taxonomy.weights)
    targets = weights / weights.sum(1, keepdims=True)
    readout = weights if convert == "weight" else weights > 0
    domain_of = _domain_of([len(own) for own in taxonomy.weights])
    return Scheme(targets.astype(np.float32), np.ones(weights.shape, bool), readout.astype(np.float32), domain_of)


def union_scheme(sizes: Sequence[int]) -> Scheme:
    """Naive union: all classes side by side in one softmax; a domain's probabilities are its own, renormalised.

    Args:
      sizes: number of classes of each domain.

    Returns:
      The scheme, ``U = V``.

    Example:
      >>> union_scheme([2, 1]).columns.sum(1).tolist()
      [3, 3, 3]
    """
    own = np.eye(sum(sizes), dtype=np.float32)
    return Scheme(own, np.ones(own.shape, bool), own, _domain_of(sizes))


def multi_head_scheme(sizes: Sequence[int]) -> Scheme:
    """Multi-head: one softmax for each domain over a shared hidden layer; a row's loss is that of its own head.

    Args:
      sizes: number of classes of each domain.

    Returns:
      The scheme, ``U = V``.

    Example:
      >>> multi_head_scheme([2, 1]).columns.sum(1).tolist()
      [2, 2, 1]
    """
    own = np.eye(sum(sizes), dtype=np.float32)
    domain_of = _domain_of(sizes)
    return Scheme(own, domain_of[:, None] == domain_of, own, domain_of)


def single_scheme(sizes: Sequence[int], domain: int) -> Scheme:
    """Single: a network for one domain, to be trained and asked on rows of that domain alone.

    Args:
      sizes: number of classes of each domain. domain: number of the one served.

    Returns:
      The scheme, ``U`` the classes of that domain; rows of other domains' classes are 0.

    Example:
      >>> single_scheme([2, 1], 1).targets.tolist()
      [[0.0], [0.0], [1.0]]
    """
    start = sum(sizes[:domain])
    own = np.eye(sum(sizes), dtype=np.float32)[:, start : start + sizes[domain]]
    return Scheme(own, np.ones(own.shape, bool), own, _domain_of(sizes))


def _domain_of(sizes: Sequence[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def majority_class(labels: ArrayLike, num_classes: int) -> int:
    """The commonest class, the first of equally common ones.

    Args:
      labels: integers ``(N,)`` in ``[0, num_classes)``. num_classes: C.

    Returns:
      Its number.

    Raises:
      TaxonomyError: labels out of range.

    Example:
      >>> majority_class([2, 0, 2], 3)
      2
    """
    return int(np.bincount(check_labels("labels", labels, num_classes), minlength=num_classes).argmax())
