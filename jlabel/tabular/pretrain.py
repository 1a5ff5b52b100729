"""Pre-training: contextual embeddings of categories from rows without labels."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.typing import ArrayLike

from jlabel.tabular.checks import TabularError, check_choice, check_count, check_number
from jlabel.tabular.columns import ColumnTypes
from jlabel.tabular.encode import Scaling, TableEncoder, encode, fit_encoder, value_knots
from jlabel.tabular.network import (
    DETECTION_HEADS,
    DetectionHead,
    Identifier,
    Norm,
    PretrainingHeads,
    TabTransformer,
    check_network,
    init_embeddings,
    init_network,
)
from jlabel.tabular.objective import mask_codes, mlm_loss, replace_codes, rtd_loss
from jlabel.tabular.train import train_runs

__all__ = ["OBJECTIVES", "Objective", "Pretrained", "PretrainingLoss", "pretrain"]

Objective = Literal["mlm", "rtd"]
OBJECTIVES: tuple[Objective, ...] = ("mlm", "rtd")
# A cell of RTD tells less than a hidden one of MLM: at 1e-3 it is behind after the same steps.
_LEARNING_RATES: dict[Objective, float] = {"mlm": 1e-3, "rtd": 3e-3}


@dataclass(frozen=True)
class PretrainingLoss:
    """Loss of a network and its heads on a batch of codes and values; see `train_runs`.

    Attributes:
      network: whose embeddings are trained. objective: "mlm" or "rtd". rate: of hidden or exchanged cells.
      allow_same: see `replace_codes`. detection: heads of "rtd", see `PretrainingHeads`.
    """

    network: TabTransformer
    objective: Objective
    rate: float = 0.3
    allow_same: bool = False
    detection: DetectionHead = "value"

    @property
    def heads(self) -> PretrainingHeads:
        """The heads, which fine-tuning drops."""
        return PretrainingHeads(self.network.cardinalities, self.objective, self.detection)

    def init(self, key: jax.Array, *, knots: ArrayLike | None = None) -> dict[str, Any]:
        """First variables of both, ``{"network": ..., "heads": ...}``, without the MLP, which is not trained here."""
        network = init_embeddings(self.network, key, knots=knots)
        return {"network": network, "heads": _init_heads(self, jax.random.fold_in(key, 1))}

    def __call__(self, params: Any, batch: Mapping[str, jax.Array], key: jax.Array, share: jax.Array) -> jax.Array:
        """The mean loss over hidden cells (MLM) or known ones (RTD)."""
        cells, drops = jax.random.split(key)
        sizes, codes = self.network.cardinalities, batch["codes"]
        if self.objective == "mlm":
            changed, marked = mask_codes(cells, codes, cardinalities=sizes, rate=self.rate)
        else:
            changed, marked = replace_codes(
                cells, codes, cardinalities=sizes, rate=self.rate, allow_same=self.allow_same
            )
        hidden: Any = self.network.apply(params["network"], changed, batch["values"], drops, method="contextual")
        logits: Any = self.heads.apply(params["heads"], hidden[-1], changed)
        if self.objective == "mlm":
            return mlm_loss(logits, codes, marked)
        return rtd_loss(logits, marked, codes < jnp.asarray(sizes)[None])


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What `pretrain` leaves: one pre-training for many targets.

    Attributes:
      encoder: of the table. network: its sizes; what it predicts is up to `start`. params: variables without the MLP's.
      objective: "mlm" or "rtd". losses: float32, mean pre-training loss every 100 steps.
    """

    encoder: TableEncoder
    network: TabTransformer
    params: Any = field(repr=False)
    objective: Objective
    losses: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)

    def start(
        self,
        num_outputs: int,
        *,
        key: jax.Array,
        max_hidden: int | None = None,
        embedding_scale: float | None = None,
    ) -> tuple[TabTransformer, dict[str, Any]]:
        """A network for one target, and its first variables: the trained embeddings and layers, a new MLP.

        Args:
          num_outputs: classes, or 1 for a regression. key: typed PRNG key. max_hidden, embedding_scale: see
            `TabTransformer`.
        """
        own: dict[str, Any] = {"num_outputs": num_outputs, "max_hidden": max_hidden, "embedding_scale": embedding_scale}
        network = check_network(self.network.clone(**own))
        new = init_network(network, key)
        # Parameters from elsewhere may hold an MLP of another target.
        kept = {name: part for name, part in self.params["params"].items() if not name.startswith("dense")}
        return network, {**self.params, "params": {**new["params"], **kept}}


def pretrain(
    frame: pd.DataFrame,
    *,
    objective: Objective = "rtd",
    columns: ColumnTypes | Literal["infer"] = "infer",
    embedding_size: int = 32,
    num_layers: int = 6,
    num_heads: int = 8,
    dropout: float = 0.1,
    identifier: Identifier = "concat",
    norm: Norm = "post",
    scaling: Scaling = "standard",
    bins: int = 0,
    rate: float = 0.3,
    detection: DetectionHead = "value",
    steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float | None = None,
    weight_decay: float = 1e-5,
    key: jax.Array,
    progress: bool | None = None,
) -> Pretrained:
    """Train the embeddings of a table's categories on all its rows, without any label.

    "mlm" hides cells and fills them in (`mask_codes`, `mlm_loss`), "rtd" exchanges cells and finds them
    (`replace_codes`, `rtd_loss`); cells that are missing in the data are neither hidden nor exchanged.

    Each column has linear heads on its own embedding h_i, one for each of its values (`PretrainingHeads`). The one for
    value j says for "mlm" how likely j is in a hidden cell, and for "rtd" whether a cell that shows j was exchanged:
    ``logit = w_ij . h_i + b_ij``. One head for all values of a column, ``w_i . h_i + b_i``, learns "rtd" about as well,
    but leaves less in h_i of what targets depend on, and fine-tuning gains little over no pre-training.

    Args:
      frame: table of N rows; leave out the target, and the rows of validation and test.
      objective: "mlm" or "rtd". columns: what the columns hold, "infer" asks `infer_columns`.
      embedding_size, num_layers, num_heads, dropout, identifier, norm: of `TabTransformer`.
      scaling: of numbers, see `fit_encoder`. bins: more than 0 makes tokens of the numbers, so that the categories'
        embeddings know them; bins of equally many known values.
      rate: share of cells hidden or exchanged. detection: heads of "rtd", one for each "value" or each "column".
      steps, batch_size, learning_rate, weight_decay: of `train_runs`; the rate is 1e-3 for "mlm" and 3e-3 for "rtd" if
        not given.
      key: typed PRNG key. progress: whether to show a bar; None shows it on a terminal.

    Returns:
      The pre-trained network and the table's encoder; equal keys give equal ones.

    Raises:
      TabularError: a table without category columns, what `infer_columns` refuses, or a setting out of range.

    Source: Huang et al. 2020, section 2; Devlin et al. 2019; Clark et al. 2020.
    """
    check_choice("objective", objective, OBJECTIVES)
    check_choice("detection", detection, DETECTION_HEADS)
    check_number("rate", rate, high=1.0, open_low=True)
    if learning_rate is None:
        learning_rate = _LEARNING_RATES[objective]
    check_number("learning_rate", learning_rate, open_low=True)
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        check_count(name, value)
    encoder = fit_encoder(frame, columns, scaling=scaling)
    if not encoder.cardinalities:
        raise TabularError(
            f"objective={objective!r} learns from category columns, and the table has none: leave the objective out, "
            "or name columns of few numbers as categorical"
        )
    network = TabTransformer(
        encoder.cardinalities, encoder.num_values, 1, embedding_size, num_layers, num_heads, dropout, identifier, norm,
        bins=bins,
    )  # fmt: skip
    check_network(network)
    knots = value_knots(encoder, bins) if bins else None
    loss = PretrainingLoss(network, objective, rate, detection=detection)
    table = encode(encoder, frame)
    first, order = jax.random.split(key)
    params = loss.init(first, knots=knots)
    found = train_runs(
        loss,
        jax.tree.map(lambda x: x[None], params),
        {"codes": table.codes, "values": table.values},
        {"labelled": np.arange(len(frame))[None]},
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        keys=order[None],
        progress=progress,
    )
    trained = jax.tree.map(lambda x: np.asarray(x[0]), found.params["network"])
    return Pretrained(encoder, network, trained, objective, found.losses[0])


@functools.partial(jax.jit, static_argnums=0)
def _init_heads(loss: PretrainingLoss, key: jax.Array) -> Any:
    hidden = jnp.zeros((1, loss.network.num_tokens, loss.network.embedding_size))
    return loss.heads.init(key, hidden, jnp.zeros((1, len(loss.network.cardinalities)), jnp.int32))
