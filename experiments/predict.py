"""Predict a user's own pictures, texts or features with the model that a study left behind.

    python -m experiments.predict --workdir=runs/pet_fusion --input=folder:my_pictures --output=my_pictures.csv
    python -m experiments.predict --workdir=runs/arxiv_fusion --input='csv:new.csv?text=body&label=' --output=out.csv
    python -m experiments.predict --workdir=runs/universal_model --input=folder:new --domain=zoo --output=new.csv

Writes a CSV with a row per picture or text (the columns are listed at `columns`) and, beside it, an HTML page of them.
The model is that of a fusion study's first method and first seed, or the one model of `experiments.universal_model`,
which answers in every domain's own classes. Rows are read a batch at a time.
"""

import csv
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

import jlabel.data
from experiments.common import from_flags, run_main, written_whole
from experiments.fusion_model import FusionModel, load_model
from experiments.fusion_training import labels_above
from experiments.predict_gallery import Gallery, Tile
from experiments.universal_files import UniversalModel, holds_universal_model, load_universal_model
from jlabel import InputError
from jlabel.data import Source
from jlabel.data.texts import bucket_length
from jlabel.evaluation import accuracy, balanced_accuracy
from jlabel.label_graph import LabelGraphError, match_labels
from jlabel.training import check_positive

__all__ = ["PredictConfig", "Summary", "columns", "predict"]

READ_THREADS = 4

Model = FusionModel | UniversalModel


@dataclass(frozen=True)
class PredictConfig:
    """Settings of a prediction; each is a flag of the same name."""

    workdir: str
    input: str
    output: str
    split: str = "all"
    batch_size: int = 64
    beam: int = 5
    gallery: str | None = None
    skip_broken: bool = False
    domain: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        for name, example in (("workdir", "runs/pet_fusion"), ("input", "folder:my_pictures"), ("output", "out.csv")):
            if not getattr(self, name):
                raise InputError(f"{name} is missing: give it, as in --{name}={example}")
        for name in ("batch_size", "beam"):
            check_positive(name, getattr(self, name), whole=True)
        _check_file("output", self.output_file)
        if self.gallery_file is not None:
            _check_file("gallery", self.gallery_file)
            if self.gallery_file.resolve() == self.output_file.resolve():
                raise InputError(f"gallery={str(self.gallery_file)!r} is the output itself; name another file")

    @property
    def output_file(self) -> Path:
        """Where the CSV goes."""
        return Path(self.output).expanduser()

    @property
    def gallery_file(self) -> Path | None:
        """Where the page of pictures goes: beside the CSV unless named; None where ``gallery`` is empty."""
        if self.gallery is None:
            return self.output_file.with_suffix(".html")
        return Path(self.gallery).expanduser() if self.gallery else None


class Prediction(NamedTuple):
    """What the model says about one row.

    Attributes:
      probs: probabilities of each label set's labels, in the order of the graph's sets, the fine set first.
      paths: node numbers without root and end-of-path, and the probability, of each path; the path taken first.
    """

    name: str
    probs: dict[str, np.ndarray]
    paths: list[tuple[list[int], float]]


class Summary(NamedTuple):
    """What `predict` did: rows predicted, broken rows left out, and scores where the input has known labels."""

    rows: int
    skipped: tuple[tuple[str, str], ...]
    scored_set: str | None = None
    scored_rows: int = 0
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    gallery: Path | None = None


def columns(model: Model, beam: int) -> list[str]:
    """Header of the CSV.

    ``name``; ``label`` and ``probability``: the best label of the fine set, or of the chosen domain; ``all_labels``,
    joined by " | ", where rows of the study had several: those that are likely enough beside the best; for a graph
    ``path``, the likeliest path among the beam's that ends at that label (the likeliest of all where none does), titles
    below the root joined by " > ", and ``path_probability``; ``alternative_K`` and its probability: the other paths,
    best first; then for every label set, or domain, ``best:SET`` and the probabilities ``SET:LABEL``.
    """
    header = ["name", "label", "probability"]
    if isinstance(model, FusionModel):
        header += ["all_labels"] * (model.fitted.threshold is not None)
        if model.method.apply_fn is not None:
            header += ["path", "path_probability"]
            header += [f"alternative_{k}{part}" for k in range(1, beam) for part in ("", "_probability")]
    for name, labels in _label_sets(model).items():
        header += [f"best:{name}", *(f"{name}:{label}" for label in labels)]
    return header


def predict(config: PredictConfig) -> Summary:
    """Predict every row of the input, and write the CSV and the page of pictures.

    Args:
      config: the settings.

    Returns:
      `Summary`.

    Raises:
      InputError: no model in the workdir, an input that cannot be read or is of another kind than the model's, or a
        place that cannot be written; then neither file is written.
    """
    model = _load(Path(config.workdir).expanduser(), config.domain)
    source = jlabel.data.open(config.input, config.split, skip_broken=config.skip_broken)
    _check_kind(model, source, config.workdir)
    if source.kind == "features" and config.gallery:
        raise InputError(f"gallery={config.gallery!r}: {config.input} holds features, nothing to look at; leave it out")
    truth_set, truth = _known_labels(model, source, config.input)
    answers = {name: np.full(len(source), -1) for name in _label_sets(model)}
    gallery = Gallery() if source.kind != "features" and config.gallery_file is not None else None
    rows = tqdm(_predictions(model, source, config), desc="predicting", total=len(source), disable=None, leave=False)
    with written_whole(config.output_file, flag="--output") as file:
        writer = csv.writer(file)
        writer.writerow(columns(model, config.beam))
        for i, row in enumerate(rows):
            writer.writerow(_cells(model, row, config.beam))
            for name, probs in row.probs.items():
                answers[name][i] = probs.argmax()
            if gallery is not None:
                wrong = truth_set is not None and truth[i] >= 0 and answers[truth_set][i] != truth[i]
                gallery.add(_tile(model, i, row, wrong))
    known = truth >= 0
    summary = Summary(len(source), source.skipped)
    if truth_set is not None and known.any():
        found = answers[truth_set][known]
        summary = summary._replace(
            scored_set=truth_set, scored_rows=int(known.sum()), accuracy=accuracy(found, truth[known]),
            balanced_accuracy=balanced_accuracy(found, truth[known]),
        )  # fmt: skip
    if gallery is not None and config.gallery_file is not None:
        gallery.write(config.gallery_file, source, title=f"Predictions for {config.input}", model=config.workdir)
        summary = summary._replace(gallery=config.gallery_file)
    return summary


def _load(workdir: Path, domain: str | None) -> Model:
    """The model of either kind of study."""
    if holds_universal_model(workdir):
        return load_universal_model(workdir, domain=domain)
    if domain is not None:
        raise InputError(
            f"domain={domain!r}: the model in {str(workdir)!r} is of no universal_model study; leave it out"
        )
    return load_model(workdir)


def _check_file(name: str, path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{name}={str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"{name}={str(path)!r}: there is no folder {str(path.parent)!r}; make it first")


def _check_kind(model: Model, source: Source, workdir: str) -> None:
    """Refuse features for a model of pictures, pictures for one of features, and rows of another width."""
    names = {"image": "pictures", "text": "texts"}
    wanted = names.get(model.net.kind) or f"rows of {model.net.dim} features"
    given = names.get(source.kind) or f"rows of {len(source.content(0))} features"
    if wanted != given:
        raise InputError(f"{source.spec} holds {given}, but the model in {workdir!r} was trained on {wanted}")


def _label_sets(model: Model) -> dict[str, tuple[str, ...]]:
    """Labels of each set, the fine set first."""
    if isinstance(model, UniversalModel):
        return model.label_sets
    sets = {s.name: s.labels for s in model.plan.graph.label_sets}
    return {model.fine_set: sets[model.fine_set], **sets}


def _known_labels(model: Model, source: Source, spec: str) -> tuple[str | None, np.ndarray]:
    """Label set and classes ``[N]`` of an input that is labelled with the model's words; -1 where unknown."""
    unknown = np.full(len(source), -1)
    if not source.label_names:
        return None, unknown
    if isinstance(model, UniversalModel):
        for domain, names in model.label_sets.items():
            if set(source.label_names) <= set(names):
                places = np.array([names.index(name) for name in source.label_names])
                return domain, np.where(source.labels >= 0, places[source.labels], -1)
        return None, unknown
    for wanted in (model.fine_set, None):
        try:
            found, places = match_labels(model.plan.graph, source.label_names, dataset=spec, label_set=wanted)
        except LabelGraphError:
            continue
        return found.name, np.where(source.labels >= 0, places[source.labels], -1)
    return None, unknown


def _predictions(model: Model, source: Source, config: PredictConfig) -> Iterator[Prediction]:
    """Every row's prediction, in order; the next batch is read while the model works on this one."""
    size = config.batch_size

    # The parameters go in as an argument: as constants they would be compiled into the program.
    @jax.jit
    def run(params: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        return dataclasses.replace(model, params=params).predict(inputs, beam=config.beam)

    def read(index: int) -> Any:
        content = source.content(index)
        return jlabel.data.resize_image(content, model.net.image_size) if source.kind == "image" else content

    def stacked(contents: list[Any]) -> np.ndarray:
        tokenizer = model.net.tokenizer
        if tokenizer is None:
            return np.stack(contents)
        ids = tokenizer.encode(contents)
        return tokenizer.pad(ids, bucket_length(max(map(len, ids)), tokenizer.max_length))

    names = source.column("name")
    chunks = [range(start, min(start + size, len(source))) for start in range(0, len(source), size)]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        ahead = pool.map(read, chunks[0])
        for chunk, following in zip(chunks, [*chunks[1:], range(0)], strict=True):
            inputs = stacked(list(ahead))
            filling = np.repeat(inputs[:1], size - len(chunk), axis=0)  # one shape: compiled once
            out = run(model.params, np.concatenate([inputs, filling]))
            ahead = pool.map(read, following)
            found = jax.tree.map(np.asarray, out)
            for place, row in enumerate(chunk):
                yield _prediction(model, str(names[row]), {k: v[place] for k, v in found.items()})


def _prediction(model: Model, name: str, out: dict[str, np.ndarray]) -> Prediction:
    probs = {label_set: out[f"probs/{label_set}"] for label_set in _label_sets(model)}
    if isinstance(model, UniversalModel) or "paths" not in out:
        return Prediction(name, probs, [])
    graph, fine = model.plan.graph, model.plan.graph.label_set(model.fine_set).nodes
    best = fine[int(probs[model.fine_set].argmax())]
    paths = []
    for nodes, mask, score in zip(out["paths"], out["path_mask"], out["path_log_probs"], strict=True):
        if mask.any():  # a beam that the graph cannot fill is empty
            kept = [v for v in nodes[mask].tolist() if v not in (graph.root, graph.num_nodes)]
            paths.append((kept, float(np.exp(score))))
    ends = [next((v for v in reversed(nodes) if v in fine), None) for nodes, _ in paths]
    if best in ends:  # the path is the label's reason: the likeliest that ends there comes first
        paths.insert(0, paths.pop(ends.index(best)))
    return Prediction(name, probs, paths)


def _cells(model: Model, row: Prediction, beam: int) -> list[str]:
    """One line of the CSV."""
    sets = _label_sets(model)
    fine = row.probs[model.fine_set]
    names = sets[model.fine_set]
    cells = [row.name, names[int(fine.argmax())], _number(fine.max())]
    if isinstance(model, FusionModel) and model.fitted.threshold is not None:
        # The threshold is one of probabilities before the temperature.
        log_probs = np.log(np.maximum(fine, 1e-30)) * model.fitted.temperature
        likely = np.flatnonzero(labels_above(log_probs[None], model.fitted.threshold)[0])
        cells.append(" | ".join(names[c] for c in sorted(likely, key=lambda c: (-fine[c], c))))
    if isinstance(model, FusionModel) and model.method.apply_fn is not None:
        for nodes, prob in row.paths:
            cells += [_titles(model, nodes), _number(prob)]
        cells += ["", ""] * (beam - len(row.paths))
    for name, probs in row.probs.items():
        cells += [sets[name][int(probs.argmax())], *map(_number, probs)]
    return cells


def _titles(model: FusionModel, nodes: list[int]) -> str:
    return " > ".join(model.plan.graph.titles[v] for v in nodes)


def _number(value: Any) -> str:
    return f"{float(value):.6f}"


def _tile(model: Model, row: int, found: Prediction, wrong: bool) -> Tile:
    """The picture's place on the page."""
    fine = found.probs[model.fine_set]
    best = int(fine.argmax())
    label = _label_sets(model)[model.fine_set][best]
    border, parts = "none", [f"{label} {fine[best]:.2f}"]
    if isinstance(model, FusionModel) and found.paths:
        nodes, prob = found.paths[0]
        open_choice = model.plan.paths.uncertain[model.plan.offsets[model.fine_set] + best][nodes].any()
        border = "nondeterministic" if open_choice else "deterministic"
        parts.append(f"{_titles(model, nodes)} ({prob:.2f})")
    caption = " · ".join([*parts, found.name])
    return Tile(float(fine[best]), row, label, caption, "wrong" if wrong else border)


def define_flags() -> None:
    """Define the flags of the binary."""
    flags.DEFINE_string("workdir", None, "The --workdir of a finished study: a fusion study or universal_model.")
    flags.DEFINE_string("input", None, "What to predict, as jlabel.data.open takes it: folder:DIR, parquet:GLOB, ...")
    flags.DEFINE_string("output", None, "CSV file to write; its folder must exist.")
    flags.DEFINE_string("split", "all", "Rows of the input: train, val, test or all.")
    flags.DEFINE_integer("batch_size", 64, "Rows the model takes at once.")
    flags.DEFINE_integer("beam", 5, "Paths listed for a row: the one taken and its alternatives.")
    flags.DEFINE_string("gallery", None, "HTML page of the pictures or texts; by default beside the CSV; empty: none.")
    flags.DEFINE_string(
        "domain", None, "Of a universal model: the domain whose classes `label` is of; default the first."
    )
    flags.DEFINE_bool("skip_broken", False, "Leave out rows that cannot be read; they are counted and listed.")


def main() -> None:
    """Predict as the flags say, and print what was done."""
    config = from_flags(PredictConfig, flags.FLAGS)
    done = predict(config)
    if done.skipped:
        print(f"skipped {len(done.skipped)} rows:")
        for name, reason in done.skipped:
            print(f"  {name}: {reason}")
    if done.accuracy is not None:
        print(
            f"accuracy {done.accuracy:.3f}, balanced {done.balanced_accuracy:.3f}, over {done.scored_rows} rows with a "
            f"label of {done.scored_set}"
        )
    print(f"{done.rows} rows: {config.output_file}")
    if done.gallery is not None:
        print(f"to look at: {done.gallery}")


if __name__ == "__main__":
    define_flags()
    run_main(main, doc=__doc__)
