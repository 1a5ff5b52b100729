"""The peers of `benchmarks/label_graph.py`: block softmax and a path decoder as one writes them in PyTorch.

Blocks are contiguous columns of the given sizes, which `split` needs. Every function takes logits `[B, V]`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["ALL_BLOCKS", "TARGET_ONLY", "Blocks", "Decoder", "decoder_call", "nll_call"]


class Blocks:
    """Tables of a block structure, built once and not timed: ids `[V]`, members `[G, W]` padded, their mask."""

    def __init__(self, sizes: np.ndarray):
        starts = np.cumsum(sizes) - sizes
        places = np.arange(sizes.max())
        self.sizes = sizes.tolist()
        self.ids = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
        self.columns = [torch.arange(a, a + n) for a, n in zip(starts.tolist(), self.sizes, strict=True)]
        self.members = torch.from_numpy(np.minimum(starts[:, None] + places, sizes.sum() - 1))
        self.valid = torch.from_numpy(places < sizes[:, None])


def _pick(values: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return values.gather(1, targets[:, None])[:, 0]


def index_loop(z: torch.Tensor, targets: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """A loop over blocks that reads and writes columns by index."""
    out = torch.zeros_like(z)
    for columns in blocks.columns:
        out[:, columns] = torch.log_softmax(z[:, columns], dim=-1)
    return _pick(out, targets)


def split_softmax(z: torch.Tensor, targets: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """split, log_softmax of each part, cat."""
    return _pick(torch.cat([torch.log_softmax(part, dim=-1) for part in z.split(blocks.sizes, dim=1)], dim=1), targets)


def scatter_softmax(z: torch.Tensor, targets: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """scatter_reduce of the maximum and of the sum, gathered back."""
    ids = blocks.ids.expand(len(z), -1)
    highest = torch.full((len(z), len(blocks.sizes)), -torch.inf, dtype=z.dtype)
    shifted = z - highest.scatter_reduce(1, ids, z.detach(), "amax").gather(1, ids)
    total = torch.zeros_like(highest).scatter_reduce(1, ids, shifted.exp(), "sum")
    return _pick(shifted - total.log().gather(1, ids), targets)


def target_mask(z: torch.Tensor, targets: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """The target's block only: the row under a mask."""
    outside = blocks.ids[targets][:, None] != blocks.ids[None]
    return _pick(z, targets) - z.masked_fill(outside, -torch.inf).logsumexp(1)


def target_gather(z: torch.Tensor, targets: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """The target's block only: its columns gathered from a padded table of members."""
    block = blocks.ids[targets]
    rows = z.gather(1, blocks.members[block]).masked_fill(~blocks.valid[block], -torch.inf)
    return _pick(z, targets) - rows.logsumexp(1)


LogProbs = Callable[[torch.Tensor, torch.Tensor, Blocks], torch.Tensor]
ALL_BLOCKS: dict[str, LogProbs] = {"loop": index_loop, "split": split_softmax, "scatter": scatter_softmax}
TARGET_ONLY: dict[str, LogProbs] = {"mask": target_mask, "gather": target_gather}


def nll_call(
    log_probs: LogProbs, z: np.ndarray, targets: np.ndarray, blocks: Blocks
) -> Callable[[], tuple[float, np.ndarray]]:
    """A call that returns the mean negative log-likelihood and its gradient."""
    logits, rows = torch.from_numpy(z.copy()).requires_grad_(), torch.from_numpy(targets).long()

    def call() -> tuple[float, np.ndarray]:
        logits.grad = None
        loss = -log_probs(logits, rows, blocks).mean()
        loss.backward()
        assert logits.grad is not None
        return float(loss.detach()), logits.grad.numpy()

    return call


class Decoder(nn.Module):
    """Embedding, GRUCell and Linear over a path; `folded` replaces embedding and input weights by their product."""

    def __init__(self, nodes: int, features: int, hidden: int, *, folded: bool):
        super().__init__()
        self.folded = folded
        self.start = nn.Linear(features, hidden)
        self.embed = nn.Embedding(nodes + 1, 3 * hidden if folded else hidden)
        self.recurrent: nn.Module = nn.Linear(hidden, 3 * hidden) if folded else nn.GRUCell(hidden, hidden)
        self.output = nn.Linear(hidden, nodes + 1)

    def step(self, state: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
        """The next state."""
        if not self.folded:
            return self.recurrent(self.embed(node), state)
        in_reset, in_update, in_new = self.embed(node).chunk(3, -1)
        reset, update, new = self.recurrent(state).chunk(3, -1)
        update = torch.sigmoid(in_update + update)
        return (1 - update) * torch.tanh(in_new + torch.sigmoid(in_reset + reset) * new) + update * state

    def fold(self) -> "Decoder":
        """The folded decoder with the same function."""
        cell = self.recurrent
        assert isinstance(cell, nn.GRUCell)
        other = Decoder(self.embed.num_embeddings - 1, self.start.in_features, self.start.out_features, folded=True)
        with torch.no_grad():
            other.embed.weight.copy_(self.embed.weight @ cell.weight_ih.T + cell.bias_ih)
            other.recurrent.weight.copy_(cell.weight_hh)  # type: ignore[operator, union-attr]
            other.recurrent.bias.copy_(cell.bias_hh)  # type: ignore[operator, union-attr]
        other.start.load_state_dict(self.start.state_dict())
        other.output.load_state_dict(self.output.state_dict())
        return other

    def jlabel_params(self) -> dict[str, Any]:
        """The parameters of the folded decoder under the names of `PathDecoder`."""

        def dense(layer: Any) -> dict[str, np.ndarray]:
            return {"kernel": layer.weight.detach().numpy().T.copy(), "bias": layer.bias.detach().numpy().copy()}

        return {
            "start": dense(self.start),
            "inputs": {"embedding": self.embed.weight.detach().numpy().copy()},
            "recurrent": dense(self.recurrent),
            "output": dense(self.output),
        }


def decoder_call(
    module: Decoder, log_probs: LogProbs, features: np.ndarray, paths: np.ndarray, blocks: Blocks
) -> Callable[[], tuple[float, dict[str, np.ndarray]]]:
    """A call that returns the mean negative log-likelihood of teacher-forced paths `[B, T+1]` and its gradients.

    Node 0 is the root; the others fill the blocks in order. The two gradients returned are those of the start and of
    the output layer, which both forms of the decoder have.
    """
    dtype = module.start.weight.dtype
    x, nodes = torch.from_numpy(features).to(dtype), torch.from_numpy(paths).long()

    def call() -> tuple[float, dict[str, np.ndarray]]:
        module.zero_grad(set_to_none=True)
        state, total = module.start(x), torch.zeros(len(x), dtype=dtype)
        for t in range(nodes.shape[1] - 1):
            if t:
                state = module.step(state, nodes[:, t])
            total = total + log_probs(module.output(state)[:, 1:-1], nodes[:, t + 1] - 1, blocks)
        loss = -total.mean()
        loss.backward()
        grads = {name: getattr(module, name).weight.grad.numpy().T for name in ("start", "output")}
        return float(loss.detach()), grads

    return call
