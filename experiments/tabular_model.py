"""A model that a user keeps: one file without pickle, and predictions of new rows with it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from scipy.special import softmax

from experiments.common import written_whole
from experiments.tabular_config import TabularConfig
from experiments.tabular_data import read_frame
from jlabel import InputError
from jlabel.tabular import (
    BASELINES,
    TUNING,
    NeuralFit,
    Pretrained,
    Problem,
    Table,
    TableEncoder,
    TabTransformer,
    TunedFit,
    encode,
    make_problem,
    predict_table,
    pretrained_from_state,
    pretrained_state,
)
from jlabel.training import TrainingError, load_arrays, save_arrays

__all__ = ["Model", "load_model", "model_of", "predict_new", "save_model", "write_predictions"]

_ROWS = ("codes", "values", "labels", "labelled", "validation", "unlabelled")


class Model(NamedTuple):
    """A fitted model of one run.

    Attributes:
      method: its name. target: the column that it predicts. class_names: C texts.
      network: encoder and network; of methods that are no network only the encoder counts.
      fit: those methods' fit. state: what the file needs to fit them again: rows, and JSON's settings.
    """

    method: str
    target: str
    class_names: tuple[str, ...]
    network: Pretrained
    fit: Any = None
    state: tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None = None

    def predict_proba(self, table: Table) -> np.ndarray:
        """Probabilities float64 ``(N, C)`` of encoded rows."""
        if self.fit is not None:
            return self.fit.predict_proba(table)
        logits = predict_table(self.network.network, self.network.params, table).astype(np.float64)
        return softmax(logits, axis=1)


def model_of(
    method: str, tuned: TunedFit, problem: Problem, encoder: TableEncoder, *, target: str, class_names: tuple[str, ...]
) -> Model:
    """The model of a problem with one run.

    Of a network the file holds the parameters. Trees and lines are fitted again from the rows they learned from, which
    takes a second and gives the same: scikit-learn's own files are pickles, which run code when they are read.
    """
    fit = tuned.fits[int(tuned.chosen[0])]
    if isinstance(fit, NeuralFit):
        network = fit.outputs.network  # type: ignore[attr-defined]
        params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), fit.params)
        return Model(method, target, class_names, Pretrained(encoder, network, params, "mlm"))
    parts = {name: getattr(problem, name) for name in ("labelled", "validation", "unlabelled")}
    if not method.endswith("_pl"):
        parts["unlabelled"] = None
    rows = {name: part[0] for name, part in parts.items() if part is not None}
    used = np.unique(np.concatenate(list(rows.values())))
    arrays = {name: np.searchsorted(used, own) for name, own in rows.items()} | {
        "codes": problem.table.codes[used], "values": problem.table.values[used], "labels": problem.labels[used],
    }  # fmt: skip
    chosen = tuned.settings[int(tuned.chosen[0])]
    settings = {name: value for name, value in chosen.items() if name in TUNING[method]}
    return _refitted(method, target, class_names, encoder, arrays, settings)


def save_model(path: Path, model: Model) -> None:
    """Write one file of arrays and JSON."""
    arrays, meta = pretrained_state(model.network)
    more: dict[str, Any] = {"method": model.method, "target": model.target, "classes": list(model.class_names)}
    if model.state is not None:
        arrays |= {f"rows/{name}": value for name, value in model.state[0].items()}
        more["settings"] = dict(model.state[1])
    save_arrays(path, arrays, {"tabular": more, "state": meta})


def load_model(path: Path) -> Model:
    """What `save_model` wrote.

    Raises:
      InputError: no such file.
    """
    try:
        arrays, meta = load_arrays(path)
        more, state = meta["tabular"], meta["state"]
        network = pretrained_from_state(arrays, state)
    except (TrainingError, KeyError, InputError) as error:
        raise InputError(f"--model={path}: no model of this study ({error})") from error
    named = more["method"], more["target"], tuple(more["classes"])
    if "settings" not in more:
        return Model(*named, network)
    rows = {name: arrays[f"rows/{name}"] for name in _ROWS if f"rows/{name}" in arrays}
    return _refitted(*named, network.encoder, rows, more["settings"])


def predict_new(config: TabularConfig, workdir: Path) -> pd.DataFrame:
    """Predict the rows of --data with a kept model; write predictions.csv.

    Raises:
      InputError: no model, or rows that lack its columns.
    """
    model = load_model(Path(config.model).expanduser())
    encoder = model.network.encoder
    frame = read_frame(config.data)
    missing = [name for name in (*encoder.names, *filter(None, [config.id_column])) if name not in frame]
    if missing:
        raise InputError(f"--data={config.data}: no column {missing[0]!r}, which {config.model} learned from")
    ids = pd.Index(frame[config.id_column]) if config.id_column else frame.index.rename("row")
    table = encode(encoder, frame[list(encoder.names)])
    path = workdir / "predictions.csv"
    found = write_predictions(path, model, model.predict_proba(table), ids)
    print(f"predictions of {len(found)} rows: {path}")
    return found


def write_predictions(path: Path, model: Model, probs: np.ndarray, ids: pd.Index) -> pd.DataFrame:
    """A row's name or number, its likeliest class, and the probability of each class."""
    table = pd.DataFrame({f"prob_{name}": probs[:, k] for k, name in enumerate(model.class_names)})
    table.insert(0, model.target, np.asarray(model.class_names, object)[probs.argmax(1)])
    table.insert(0, str(ids.name), np.asarray(ids), allow_duplicates=True)
    with written_whole(path) as file:
        table.to_csv(file, index=False, float_format="%.6f")
    return table


def _refitted(
    method: str, target: str, class_names: tuple[str, ...], encoder: TableEncoder, rows: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
) -> Model:  # fmt: skip
    """A model that is no network, fitted to the rows that its file holds."""
    table = Table(rows["codes"], rows["values"], np.zeros(len(encoder.cardinalities), np.int64))
    problem = make_problem(
        table, rows["labels"], cardinalities=encoder.cardinalities, labelled=rows["labelled"],
        unlabelled=rows.get("unlabelled"), validation=rows.get("validation"),
    )  # fmt: skip
    fit: Any = BASELINES[method](problem, key=jax.random.key(0), **settings)
    fit = dataclasses.replace(fit, num_classes=len(class_names))  # of which these rows may lack one
    sizes = TabTransformer(encoder.cardinalities, encoder.num_values, len(class_names), num_layers=0, num_heads=1)
    return Model(method, target, class_names, Pretrained(encoder, sizes, {}, "mlm"), fit, (rows, settings))
