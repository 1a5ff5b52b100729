"""The embeddings study: what untrained, pre-trained and fine-tuned networks know of rows and values, layer by layer."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.cells import Cells
from experiments.tabular_config import TabularConfig
from experiments.tabular_data import TabularData, cut
from experiments.tabular_figures import column_groups, layers_figure, maps_figure, profile_groups
from experiments.tabular_pretraining import pretrained_of
from experiments.tabular_probes import (
    CENTRES,
    Values,
    known_values,
    linear_probe,
    map_values,
    probe_logs,
    profile_preferences,
    value_cosines,
    value_means,
)
from experiments.tabular_robustness import fit_runs, over_splits, over_what, split_problem
from experiments.tabular_study import Outcome, Progress
from jlabel import InputError
from jlabel.evaluation import make_row
from jlabel.tabular import (
    Problem,
    Table,
    TableEncoder,
    TabTransformer,
    classification_score,
    predict_table,
    value_knots,
)
from jlabel.tabular.network import init_embeddings

__all__ = ["run_embeddings"]

FEW = 100  # rows that teach a probe the profile
MOST = 5000  # rows that teach a probe the target, choose its strength, and score it, each
CELLS = 2000  # of a map, about
TUNED = " fine-tuned"  # after an objective's name
END, TARGET, RELATIVE, PROFILE = "end-to-end AUC", "target probe", "target probe / end to end", "profile probe"
COSINE = {"none": "cosine", "all": "cosine, centred", "column": "cosine, centred by column"}
Embed = Callable[[np.ndarray], tuple[np.ndarray, ...]]  # rows of the table to embeddings of each layer


def run_embeddings(
    config: TabularConfig, data: TabularData, cells: Cells, progress: Progress = lambda _: None
) -> Outcome:
    """Look into the embeddings of untrained, pre-trained and fine-tuned networks and of the MLP.

    Args:
      config: settings. data: the table. cells: of the run. progress: told each step before it begins.

    Returns:
      Tables, figures and rows.

    Raises:
      InputError: several numbers of labelled rows, or a table without category columns.
    """
    if not data.columns.categorical:
        raise InputError(
            f"--data={config.data} has no category columns, hence no embeddings; --categorical=COLUMN makes one"
        )
    methods = ["untrained", *config.objectives, "tabtransformer", *(name + TUNED for name in config.objectives), "mlp"]
    splits: list[dict[str, dict[str, np.ndarray]]] = []
    for split in config.splits:
        encoder, problem = split_problem(config, data, split)
        if not splits:
            values = known_values(encoder.categories)
            prefers = _prefers(data, problem)
        found = {}
        for method in methods:
            progress(f"split {split}, {method}")
            step = functools.partial(_look, method, config, data, split, encoder, problem, cells)
            found[method] = cells.get(f"embeddings split {split} {method}", step)
        splits.append(found)
    return _outcome(config, data, values, prefers, splits)


def _look(
    method: str, config: TabularConfig, data: TabularData, split: int, encoder: TableEncoder, problem: Problem,
    cells: Cells,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Everything about one method's networks in one split, what is not of the map ``(networks, ...)``.

    "target": areas ``(layers,)``; "profile": accuracies ``(layers,)`` and "cosine": areas ``(layers, 3)``, of drawn
    tables; "end": the area of the network itself, if it predicts; in the first split "last" and "before": maps
    ``(V, 2)``.
    """
    network, networks = _networks(method, config, data, split, encoder, problem, cells)
    part = cut(data, split)
    test = np.random.default_rng(split).permutation(part.test)[:MOST]
    prefers = _prefers(data, problem)
    column = np.repeat(np.arange(len(problem.cardinalities)), problem.cardinalities)
    found: dict[str, list[Any]] = {"target": []}
    for run, params in enumerate(networks):
        embed = functools.partial(_embedded, network, params, problem.table)
        layers = embed(test)
        found["target"].append(_target_areas(problem, run, config.seeds[run], embed, layers, test))
        if method not in ("untrained", *config.objectives):
            logits = predict_table(network, params, _rows(problem.table, test))
            found.setdefault("end", []).append(classification_score(logits, data.target[test]))
        if data.profile is not None and prefers is not None:
            # A network for all seeds has as many probes as the others together.
            seeds = config.seeds if len(networks) == 1 else config.seeds[run : run + 1]
            draws = [np.random.default_rng(seed).permutation(part.train)[:FEW] for seed in seeds]
            found.setdefault("profile", []).append(_profile_accuracies(data.profile, draws, embed, layers, test))
            codes = problem.table.codes[test]
            means = [value_means(x, codes, problem.cardinalities) for x in layers]
            found.setdefault("cosine", []).append([value_cosines(own, column, prefers) for own in means])
    arrays = {name: np.array(own) for name, own in found.items()}
    if split == config.splits[0] and method in ("tabtransformer", *config.objectives, "mlp"):
        some = test[: max(50, CELLS // len(problem.cardinalities))]
        layers = _embedded(network, networks[0], problem.table, some)
        for name, layer in {"before": layers[0], "last": layers[-1]}.items():
            arrays[name] = map_values(layer, problem.table.codes[some], problem.cardinalities, seed=0)
    return arrays


def _networks(
    method: str, config: TabularConfig, data: TabularData, split: int, encoder: TableEncoder, problem: Problem,
    cells: Cells,
) -> tuple[TabTransformer, list[Any]]:  # fmt: skip
    """A network, and its parameters with each seed; those of a pre-training serve all seeds."""
    if method in config.objectives:
        found = pretrained_of(config, data, split, method, cells)
        return found.network, [found.params]
    if method == "untrained":
        network = TabTransformer(
            problem.cardinalities, problem.num_values, problem.num_classes, config.embedding_size, config.num_layers,
            config.num_heads, config.dropout, norm=config.norm, bins=config.bins,  # type: ignore[arg-type]
        )  # fmt: skip
        knots = value_knots(encoder, config.bins) if config.bins else None
        keys = [jax.random.fold_in(jax.random.key(seed), split) for seed in config.seeds]
        return network, [init_embeddings(network, key, knots=knots) for key in keys]
    # The same settings for all: what is compared are their starts.
    untuned = dataclasses.replace(config, tuning_rounds=0)
    tuned = fit_runs(method.removesuffix(TUNED), untuned, data, split, encoder, problem, cells)
    fits: list[Any] = [own.fits[0] for own in tuned]
    return fits[0].outputs.network, [
        jax.tree.map(lambda x, run=run: x[run], fit.params) for fit in fits for run in range(len(fit.best_step))
    ]


def _rows(table: Table, rows: np.ndarray) -> Table:
    return Table(table.codes[rows], table.values[rows], table.unknown)


def _embedded(network: TabTransformer, params: Any, table: Table, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Embeddings of the categories ``(rows, m, d)`` of each layer; tokens of numbers come behind them."""
    found = predict_table(network, params, _rows(table, rows), method="contextual")
    return tuple(layer[:, : table.codes.shape[1]] for layer in found)


def _prefers(data: TabularData, problem: Problem) -> np.ndarray | None:
    if data.profile is None:
        return None
    return profile_preferences(problem.table.codes, data.profile, problem.cardinalities)


def _target_areas(
    problem: Problem, run: int, seed: int, embed: Embed, layers: Sequence[np.ndarray], test: np.ndarray
) -> list[float]:
    """For each layer the area of a probe for the target, which sees what the MLP would: all embeddings and numbers."""
    rows: Any = problem.validation
    fit, held = (np.random.default_rng(seed).permutation(own[run])[:MOST] for own in (problem.labelled, rows))
    found = []
    for x, h, t in zip(embed(fit), embed(held), layers, strict=True):
        parts = [
            np.concatenate([own.reshape(len(own), -1), problem.table.values[at]], 1).astype(np.float64)
            for own, at in ((x, fit), (h, held), (t, test))
        ]
        probe = linear_probe(parts[0], problem.labels[fit], held=(parts[1], problem.labels[held]))
        logs = probe_logs(probe, parts[2], problem.num_classes)
        found.append(classification_score(logs, problem.labels[test]))
    return found


def _profile_accuracies(
    profile: np.ndarray, draws: Sequence[np.ndarray], embed: Embed, layers: Sequence[np.ndarray], test: np.ndarray
) -> np.ndarray:
    """For each layer the mean accuracy of probes for the profile on embeddings averaged over columns."""
    scores = [
        [
            linear_probe(x.mean(1), profile[rows]).score(own.mean(1), profile[test])
            for x, own in zip(embed(rows), layers, strict=True)
        ]
        for rows in draws
    ]
    return np.mean(scores, 0)


def _outcome(
    config: TabularConfig,
    data: TabularData,
    values: Values,
    prefers: np.ndarray | None,
    splits: Sequence[Mapping[str, Mapping[str, np.ndarray]]],
) -> Outcome:
    """Numbers, tables and figures; interval over what `over_splits` leaves."""

    def runs(name: str, given: Sequence[Mapping[str, Mapping[str, np.ndarray]]] = splits) -> dict[str, np.ndarray]:
        return {
            method: over_splits(np.stack([own[method][name] for own in given]))
            for method, arrays in given[0].items()
            if name in arrays
        }

    relative = [
        {name: {RELATIVE: arrays["target"] / own["tabtransformer"]["end"].mean()} for name, arrays in own.items()}
        for own in splits
    ]
    series = {TARGET: runs("target"), RELATIVE: runs(RELATIVE, relative)}
    if prefers is not None:
        series[PROFILE] = runs("profile")
        cosines = runs("cosine")
        series |= {
            COSINE[centre]: {name: own[..., k] for name, own in cosines.items()} for k, centre in enumerate(CENTRES)
        }
    rows = [make_row(name, END, own) for name, own in runs("end").items()]
    rows += [
        make_row(name, f"{what}, layer {k}", own[:, k])
        for what, found in series.items()
        for name, own in found.items()
        for k in range(own.shape[1])
    ]
    over, layers = over_what(config), config.num_layers
    said = {
        RELATIVE: "AUC of a linear probe for the target, on all embeddings of a layer and the numbers, over the whole "
        "TabTransformer's AUC",
        PROFILE: f"accuracy of a linear probe for the hidden profile, on {FEW} rows' embeddings averaged over columns",
        COSINE["all"]: "AUC of the cosine of two values' mean embeddings, less the mean of all, for whether they share "
        "a profile",
    }
    tables = []
    for what in (name for name in said if name in series):
        shown = [f"{what}, layer {k}" for k in sorted({0, layers // 2, layers})]
        caption = f"{data.name}: {said[what]}; mean ± std and 95 % t interval over {over}."
        tables.append((caption, [row for row in rows if row.metric in shown]))
    panels = {f"{RELATIVE}, AUC": series[RELATIVE]}
    if prefers is not None:
        panels[f"{PROFILE}, accuracy"] = series[PROFILE]
    figures = {
        "layers": (
            layers_figure(panels),
            f"{data.name}: linear probes of each layer: means and 95 % intervals over {over}.",
            "Scores of linear probes against the layer",
        )
    }
    lines = [
        {"split": split, "method": name}
        | {key: array.tolist() for key, array in arrays.items() if key not in ("before", "last")}
        for split, found in zip(config.splits, splits, strict=True)
        for name, arrays in found.items()
    ]
    return Outcome(tables, figures | _maps(data, values, prefers, splits[0]), rows, _told(series), lines)


def _maps(
    data: TabularData, values: Values, prefers: np.ndarray | None, found: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, tuple[Figure, str, str]]:
    """Three maps in a figure, for each network that has a layer."""
    names, groups = values.names, column_groups(values.column, list(map(str, data.columns.categorical)))
    told = "names are values"
    if prefers is not None:
        names = tuple(f"{column}{name}" for column, name in zip(values.column, names, strict=True))
        groups, told = profile_groups(prefers), "names are column, from 0, and value"
    figures = {}
    for name, arrays in found.items():
        if "last" not in arrays or name == "mlp":
            continue
        maps = {
            f"{name}, last layer": arrays["last"],
            f"{name}, before the Transformer": arrays["before"],
            "mlp": found["mlp"]["last"],
        }
        figures[f"map_{name}"] = (
            maps_figure(maps, names, groups),
            f"{data.name}: t-SNE of the test rows' embeddings; a mark is the mean of a value's points; {told}.",
            f"Maps of the values' embeddings, {name}",
        )
    return figures


def _told(series: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """What the last layers know, in words."""
    found = []
    for what, told in {
        PROFILE: "A linear probe finds the hidden profile in the last layer, accuracy",
        COSINE["all"]: "The cosine in the last layer tells pairs of values that share a profile, AUC",
        RELATIVE: "A linear probe for the target on the last layer, AUC over the whole TabTransformer's",
    }.items():
        if what in series:
            means = (f"{name} {own[:, -1].mean():.3f}" for name, own in series[what].items())
            found.append(f"{told}: {', '.join(means)}.")
    return found
