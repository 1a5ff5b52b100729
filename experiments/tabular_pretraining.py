"""Pre-trainings of a run, kept in its cells."""

import json

import jax
import numpy as np
import pandas as pd

from experiments.cells import Cells
from experiments.tabular_config import OBJECTIVES, TabularConfig
from experiments.tabular_data import TabularData, cut
from jlabel.tabular import ColumnTypes, Pretrained, pretrain, pretrained_from_state, pretrained_state

__all__ = ["pretrained_of", "pretrained_on"]


def pretrained_of(config: TabularConfig, data: TabularData, split: int, objective: str, cells: Cells) -> Pretrained:
    """Embeddings trained on the split's training rows, without a label; made once, then read from the cells.

    Args:
      config: settings. data: the table. split: 0 to 4. objective: "mlm" or "rtd". cells: of the run.

    Returns:
      The pre-training; whether it was made or read makes no difference, to the last bit.

    Raises:
      TabularError: a table without category columns.
    """
    frame = data.frame.iloc[cut(data, split).train]
    return pretrained_on(config, frame, data.columns, objective, cells, name=f"split {split}", seed=split)


def pretrained_on(
    config: TabularConfig, frame: pd.DataFrame, columns: ColumnTypes, objective: str, cells: Cells, *, name: str,
    seed: int,
) -> Pretrained:  # fmt: skip
    """The same on any rows; ``name`` tells the cell of one choice of rows from that of another."""

    def make() -> dict[str, np.ndarray]:
        found = pretrain(
            frame,
            objective=objective,  # type: ignore[arg-type]
            columns=columns,
            embedding_size=config.embedding_size,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            dropout=config.dropout,
            norm=config.norm,  # type: ignore[arg-type]
            bins=config.bins,
            steps=config.pretraining_steps,
            batch_size=config.batch_size,
            learning_rate=config.pretraining_rate,
            key=jax.random.fold_in(jax.random.key(seed), OBJECTIVES.index(objective)),
        )
        arrays, meta = pretrained_state(found)
        return {**arrays, "meta": np.array(json.dumps(meta))}

    arrays = cells.get(f"pretraining {objective} {name}", make)
    meta = json.loads(str(arrays.pop("meta")))
    return pretrained_from_state(arrays, meta)
