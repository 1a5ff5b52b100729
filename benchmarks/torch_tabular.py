"""The peer of `benchmarks/tabular.py`: `tab_transformer_pytorch`, and its weights as ours."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from tab_transformer_pytorch import TabTransformer

__all__ = ["Peer", "as_ours"]

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-5


class Peer:
    """The package's network on one batch.

    Args:
      cardinalities: of the category columns. depth: layers. heads: of width 16. dropout: in attention and feed-forward.
      streams: residual streams; None leaves the package's default.
      codes: int ``(B, m)``. values: float32 ``(B, c)``. target: float32 ``(B,)``, 0 or 1.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        depth: int,
        heads: int,
        dropout: float,
        streams: int | None,
        codes: np.ndarray,
        values: np.ndarray,
        target: np.ndarray,
    ):
        torch.manual_seed(0)
        more = {} if streams is None else {"num_residual_streams": streams}
        self.model = TabTransformer(
            categories=tuple(cardinalities), num_continuous=values.shape[1], dim=32, depth=depth, heads=heads,
            attn_dropout=dropout, ff_dropout=dropout, mlp_act=torch.nn.ReLU(), **more,
        )  # fmt: skip
        for module in self.model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-6  # as Flax has it; the first embeddings are so small that it shows
        self.codes, self.values = torch.from_numpy(codes).long(), torch.from_numpy(values)
        self.target = torch.from_numpy(target)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def loss(self) -> torch.Tensor:
        """Binary cross-entropy of the batch."""
        outputs = self.model(self.codes, self.values)[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs, self.target)

    def step(self) -> None:
        """One step of AdamW."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()

    def steps(self, count: int) -> Callable[[], None]:
        """A call that does ``count`` steps."""

        def call() -> None:
            for _ in range(count):
                self.step()

        return call

    def weights_and_gradients(self) -> tuple[float, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The loss, and by name all parameters and their gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        named = list(self.model.named_parameters())
        gradients = {name: p.grad.numpy().copy() for name, p in named if p.grad is not None}
        return float(loss.detach()), {name: p.detach().numpy().copy() for name, p in named}, gradients

    def normed_values(self) -> np.ndarray:
        """The numbers after the package's norm across columns, which our network does not have."""
        with torch.no_grad():
            return self.model.norm(self.values).numpy()


def as_ours(
    peer: Mapping[str, np.ndarray], cardinalities: Sequence[int], depth: int, *, scale: float
) -> dict[str, dict[str, object]]:
    """The peer's parameters (or gradients) by our names and in our order of the 32 numbers: identifier, then value.

    What the MLP does to embeddings is multiplied by ``scale``, as ours is given them divided by 32^(1/4). Our "missing"
    codes, which the batch does not hold, and our bias of queries, keys and values, are zeros.
    """
    shared = peer["shared_category_embed"]
    order = np.roll(np.arange(32), shared.shape[1])
    tables = np.split(peer["categorical_embeds.embeddings.weight"], np.cumsum(cardinalities)[:-1])
    found: dict[str, dict[str, object]] = {
        "embedding": {
            "identifier": shared,
            "value": np.concatenate([np.pad(table, ((0, 1), (0, 0))) for table in tables]),
        }
    }
    for k in range(depth):
        attention, feed = (f"transformer.layers.{k}.{part}.branch" for part in (0, 1))
        qkv = peer[f"{attention}.fn.to_qkv.weight"].T[order]
        found[f"layer_{k}"] = {
            "attention_norm": {name: peer[f"{attention}.norm.{of}"][order] for name, of in _NORM.items()},
            "qkv": {"kernel": qkv, "bias": np.zeros(qkv.shape[1], np.float32)},
            "out": {
                "kernel": peer[f"{attention}.fn.to_out.weight"].T[:, order],
                "bias": peer[f"{attention}.fn.to_out.bias"][order],
            },
            "norm": {name: peer[f"{feed}.norm.{of}"][order] for name, of in _NORM.items()},
            "up": {"kernel": peer[f"{feed}.fn.net.0.weight"].T[order], "bias": peer[f"{feed}.fn.net.0.bias"]},
            "down": {
                "kernel": peer[f"{feed}.fn.net.3.weight"].T[:, order],
                "bias": peer[f"{feed}.fn.net.3.bias"][order],
            },
        }
    columns = len(cardinalities)
    for k, name in enumerate(("0.0", "1.0", "2")):
        kernel = peer[f"mlp.layers.{name}.weight"].T
        if not k:
            tokens = kernel[: 32 * columns].reshape(columns, 32, -1)[:, order].reshape(32 * columns, -1)
            kernel = np.concatenate([scale * tokens, kernel[32 * columns :]])
        found[f"dense_{k}"] = {"kernel": kernel, "bias": peer[f"mlp.layers.{name}.bias"]}
    return found


_NORM = {"scale": "weight", "bias": "bias"}
