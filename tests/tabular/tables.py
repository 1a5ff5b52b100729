"""One small table and one tiny model for all tests, so that they share their programs."""

from typing import Any

import numpy as np
import pandas as pd

TINY: dict[str, Any] = {"embedding_size": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0}
FIT: dict[str, Any] = {**TINY, "steps": 100, "batch_size": 32, "learning_rate": 1e-2, "random_state": 0}
PRETRAINING: dict[str, Any] = {**TINY, "objective": "mlm", "steps": 100, "batch_size": 32, "learning_rate": 1e-2}


def table(rows: int = 90, seed: int = 0) -> pd.DataFrame:
    """Cities that prefer a river, an age with gaps, and a size."""
    rng = np.random.default_rng(seed)
    place = np.arange(rows) % 3
    river = np.where(rng.random(rows) < 0.9, place, rng.integers(0, 3, rows))
    frame = pd.DataFrame(
        {
            "city": np.array(["Ulm", "Bonn", "Trier"], object)[place],
            "river": np.array(["Danube", "Rhine", "Moselle"], object)[river],
            "age": rng.normal(40, 10, rows),
            "size": rng.normal(size=rows),
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[5::11, "river"] = None
    return frame


def labels(frame: pd.DataFrame) -> np.ndarray:
    """ "yes" in Ulm and for large ones elsewhere."""
    return np.where((frame["city"] == "Ulm") | (frame["size"] > 0.5), "yes", "no")
