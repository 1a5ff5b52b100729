"""The peers of `benchmarks/texts.py`: MiniLM as `transformers` runs it, and a bidirectional LSTM in PyTorch.

Every module takes ids `[B, L]`, padding 0, and gives one row `[B, D]` for each text.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoTokenizer, BertModel
from transformers.utils import logging

__all__ = ["BiLSTM", "Classifier", "MiniLM", "embed_call", "pipeline", "train_call"]

# It reports the pooler as left over.
logging.set_verbosity_error()
logging.disable_progress_bar()


class MiniLM(nn.Module):
    """BertModel without pooler and dropout; the mean of the tokens, at length 1, as sentence-transformers has it."""

    features = 384

    def __init__(self, folder: Path):
        super().__init__()
        self.bert = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="sdpa")
        self.eval()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, L] -> [B, 384]."""
        mask = (ids != 0).long()
        hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        return F.normalize(_mean(hidden, mask), dim=1)


class BiLSTM(nn.Module):
    """Word vectors, nn.LSTM in both directions, the mean over the tokens; rows with padding need `packed`."""

    def __init__(self, params: dict[str, Any], *, packed: bool):
        super().__init__()
        words = np.array(params["word"]["embedding"])
        hidden = params["forward"]["hf"]["bias"].shape[0]
        self.packed, self.features = packed, 2 * hidden
        self.word = nn.Embedding.from_pretrained(torch.from_numpy(words), freeze=False)
        self.lstm = nn.LSTM(words.shape[1], hidden, batch_first=True, bidirectional=True)
        weights = dict(self.lstm.named_parameters())
        with torch.no_grad():
            for direction, suffix in (("forward", ""), ("backward", "_reverse")):
                cell = params[direction]
                for half, name in (("i", "ih"), ("h", "hh")):
                    kernels = np.concatenate([cell[half + gate]["kernel"] for gate in "ifgo"], 1)
                    weights[f"weight_{name}_l0{suffix}"].copy_(torch.from_numpy(kernels.T.copy()))
                biases = np.concatenate([cell[f"h{gate}"]["bias"] for gate in "ifgo"])
                weights[f"bias_hh_l0{suffix}"].copy_(torch.from_numpy(biases))
                # Ours has one bias a gate.
                weights[f"bias_ih_l0{suffix}"].zero_().requires_grad_(False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, L] -> [B, 2 H]."""
        words, mask = self.word(ids), ids != 0
        if not self.packed:
            return _mean(self.lstm(words)[0], mask)
        rows = pack_padded_sequence(words, mask.sum(1), batch_first=True, enforce_sorted=False)
        return _mean(pad_packed_sequence(self.lstm(rows)[0], batch_first=True)[0], mask)


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    real = mask[:, :, None].to(hidden.dtype)
    return (hidden * real).sum(1) / real.sum(1).clamp(min=1e-9)


class Classifier(nn.Module):
    """A network with a linear layer of the given kernel `[D, C]` on its features, without bias."""

    def __init__(self, network: nn.Module, kernel: np.ndarray):
        super().__init__()
        self.network = network
        self.kernel = nn.Parameter(torch.from_numpy(kernel.copy()))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, L] -> logits [B, C]."""
        return self.network(ids) @ self.kernel


def embed_call(module: nn.Module, ids: np.ndarray) -> Callable[[], np.ndarray]:
    """A call that gives the rows [B, D] of these ids."""
    tokens = torch.from_numpy(ids).long()

    def call() -> np.ndarray:
        with torch.inference_mode():
            return module(tokens).numpy()

    return call


def train_call(module: nn.Module, ids: np.ndarray, labels: np.ndarray, **options: float) -> Callable[[], float]:
    """A call that makes one step of AdamW in its fused form, the fastest, and returns the loss before it."""
    tokens, targets = torch.from_numpy(ids).long(), torch.from_numpy(labels).long()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], fused=True, **options)

    def call() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(module(tokens), targets)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return call


def pipeline(module: nn.Module, folder: Path, *, max_length: int) -> Callable[[Sequence[str], int], np.ndarray]:
    """Texts and a batch size to rows, as `SentenceTransformer.encode`: sorted by length, then padded in batches."""
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def call(texts: Sequence[str], batch_size: int) -> np.ndarray:
        order = np.argsort([-len(text) for text in texts])
        rows = []
        with torch.inference_mode():
            for first in range(0, len(texts), batch_size):
                batch = [texts[row] for row in order[first : first + batch_size]]
                encoded = tokenizer(batch, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
                rows.append(module(encoded["input_ids"]))
        features = torch.cat(rows).numpy()
        return features[np.argsort(order)]

    return call
