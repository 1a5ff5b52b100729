"""The peers of `benchmarks/taxonomy_classes.py`: targets, loss and domain probabilities in PyTorch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

__all__ = ["Domains"]


class Domains:
    """Tables of a taxonomy, built once and not timed, and a batch.

    Args:
      weights: of each domain ``(C_a, U)``. owners: ``(D, U)``, the class that a universal class holds, -1 for none.
      logits: ``(B, U)``. domain: ``(B,)``. labels: ``(B,)``.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        owners: np.ndarray,
        logits: np.ndarray,
        domain: np.ndarray,
        labels: np.ndarray,
    ):
        self.targets = [torch.from_numpy((w / w.sum(1, keepdims=True)).astype(np.float32)) for w in weights]
        self.member = [torch.from_numpy((w > 0).astype(np.float32)) for w in weights]
        self.most = max(len(w) for w in weights)
        self.table = nn.utils.rnn.pad_sequence(self.targets, batch_first=True)
        self.owners = torch.from_numpy(np.where(owners < 0, self.most, owners)).long()
        self.logits = torch.from_numpy(logits.copy()).requires_grad_()
        self.domain, self.labels = (torch.from_numpy(x).long() for x in (domain, labels))
        self.divergence = nn.KLDivLoss(reduction="sum")

    def loop_loss(self) -> tuple[float, np.ndarray]:
        """KL and its gradient, domain by domain."""
        self.logits.grad = None
        total = torch.zeros(())
        for a in self.domain.unique().tolist():
            rows = self.domain == a
            log_probs = torch.log_softmax(self.logits[rows], dim=1)
            total = total + self.divergence(log_probs, self.targets[a][self.labels[rows]])
        return self._done(total / len(self.domain))

    def loop_probs(self) -> np.ndarray:
        """Probabilities in the rows' own domains, domain by domain."""
        found = torch.zeros(len(self.domain), self.most)
        with torch.no_grad():
            for a in self.domain.unique().tolist():
                rows = self.domain == a
                sums = torch.softmax(self.logits[rows], dim=1) @ self.member[a].T
                found[rows, : len(self.member[a])] = sums / sums.sum(1, keepdim=True)
        return found.numpy()

    def stacked_loss(self) -> tuple[float, np.ndarray]:
        """KL and its gradient from one stacked table."""
        self.logits.grad = None
        targets = self.table[self.domain, self.labels]
        return self._done(self.divergence(torch.log_softmax(self.logits, dim=1), targets) / len(targets))

    def stacked_probs(self) -> np.ndarray:
        """Probabilities in the rows' own domains by one scatter."""
        with torch.no_grad():
            probs = torch.softmax(self.logits, dim=1)
            found = torch.zeros(len(probs), self.most + 1).scatter_add_(1, self.owners[self.domain], probs)[:, :-1]
            return (found / found.sum(1, keepdim=True)).numpy()

    def _done(self, loss: torch.Tensor) -> tuple[float, np.ndarray]:
        loss.backward()
        assert self.logits.grad is not None
        return float(loss.detach()), self.logits.grad.numpy()
