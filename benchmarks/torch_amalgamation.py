"""The peers of `benchmarks/amalgamation.py`: a label chain around PyTorch's LSTMCell, and targets row by row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["Chain", "RowByRow", "copy_params"]


class Chain(nn.Module):
    """The label chain, one LSTMCell in a Python loop over the steps."""

    def __init__(self, features: int, labels: int, hidden: int):
        super().__init__()
        self.initial = nn.Linear(features, labels)
        self.cell = nn.LSTMCell(features + 2 * labels, hidden)
        self.output = nn.Linear(hidden, labels)
        # LSTMCell adds two biases; with both, Adam would take twice the step.
        self.cell.bias_hh.requires_grad_(False)

    def forward(self, x: torch.Tensor, initial: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Features ``(B, D)`` -> final logits ``(B, L)`` and step logits ``(L, B, L)``; NaN in initial means own."""
        logits = self.initial(x)
        if initial is not None:
            logits = torch.where(torch.isnan(initial), logits, initial)
        picked, state, steps = torch.zeros_like(logits), None, []
        final = torch.zeros_like(logits)
        for _ in range(logits.shape[1]):
            state = self.cell(torch.cat([x, logits, picked], 1), state)
            logits = self.output(state[0])
            steps.append(logits)
            best, label = logits.detach().masked_fill(picked > 0, -torch.inf).max(1)
            new = torch.zeros_like(picked).scatter_(1, label[:, None], (best > 0).float()[:, None])
            final, picked = final + new * logits, picked + new
        return final + (1 - picked) * steps[0], torch.stack(steps)


def copy_params(chain: Chain, params: Any) -> Chain:
    """Our parameters, ``params["params"]`` of `LabelChain`, into the module; PyTorch's second bias stays zero."""
    tree, wide = params["params"], params["params"]["layer_0"]
    inputs = wide["joined"].shape[1] - chain.cell.hidden_size
    weights = {
        chain.initial.weight: tree["initial"]["kernel"].T,
        chain.initial.bias: tree["initial"]["bias"],
        chain.cell.weight_ih: np.concatenate([wide["features"], wide["joined"][:, :inputs]], 1),
        chain.cell.weight_hh: wide["joined"][:, inputs:],
        chain.cell.bias_ih: wide["bias"],
        chain.cell.bias_hh: np.zeros_like(wide["bias"]),
        chain.output.weight: tree["output"]["kernel"].T,
        chain.output.bias: tree["output"]["bias"],
    }
    with torch.no_grad():
        for parameter, values in weights.items():
            parameter.copy_(torch.from_numpy(np.array(values)))
    return chain


class RowByRow:
    """Training of a student as the method is told: each row asks the teachers again, each time it is seen.

    Args:
      teachers: chains. columns: for each teacher the student's columns of its labels. student: a chain. features: ``(N,
        D)``. learning_rate: Adam's.
    """

    def __init__(
        self,
        teachers: Sequence[Chain],
        columns: Sequence[Sequence[int]],
        student: Chain,
        features: np.ndarray,
        learning_rate: float,
    ):
        self.teachers, self.columns, self.student = teachers, columns, student
        self.features = torch.from_numpy(features)
        self.optimizer = torch.optim.Adam(student.parameters(), lr=learning_rate)

    def targets(self, row: torch.Tensor) -> torch.Tensor:
        """Transfer and integration for one row ``(1, D)``: probabilities ``(L,)``."""
        with torch.no_grad():
            first = [teacher(row)[0][0] for teacher in self.teachers]
            candidates: list[list[torch.Tensor]] = []
            for n, teacher in enumerate(self.teachers):
                revised = []
                for m, source in enumerate(self.columns):
                    for column in set(source) & set(self.columns[n]) if m != n else ():
                        given, own = first[m][source.index(column)], first[n][self.columns[n].index(column)]
                        if given > 0 and own <= 0:
                            initial = torch.full((1, len(self.columns[n])), torch.nan)
                            initial[0, self.columns[n].index(column)] = given
                            revised.append(teacher(row, initial)[0][0])
                candidates.append(revised or [first[n]])
            found = []
            for column in range(self.student.output.out_features):
                probs = [
                    torch.sigmoid(logits[columns.index(column)])
                    for columns, several in zip(self.columns, candidates, strict=True)
                    if column in columns
                    for logits in several
                ]
                found.append(min(probs) if all(p <= 0.5 for p in probs) else max(probs))
            return torch.stack(found)

    def epoch(self, order: np.ndarray, batch_size: int) -> float:
        """One pass over the rows in this order; the mean loss."""
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size].tolist()
            losses = []
            for row in rows:
                x = self.features[row : row + 1]
                _, steps = self.student(x)
                wanted = self.targets(x).expand(steps.shape)
                losses.append(nn.functional.binary_cross_entropy_with_logits(steps, wanted))
            self.optimizer.zero_grad(set_to_none=True)
            loss = torch.stack(losses).mean()
            loss.backward()
            self.optimizer.step()
            total += float(loss.detach()) * len(rows)
        return total / len(order)
