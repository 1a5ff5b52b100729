"""Data of a fusion study: fine rows, coarse rows and their classes in one label graph."""

import dataclasses
from dataclasses import dataclass

import jax
import numpy as np

import jlabel.data
from jlabel.data import DataError, Source, SplitError
from jlabel.label_graph import (
    LabelGraph,
    PathPlan,
    build_graph,
    contract_graph,
    match_labels,
    plan_paths,
    restrict_graph,
    trim_graph,
)
from jlabel.networks import Encoder, encoder

__all__ = ["FusionData", "Rows", "coarsen", "load_fusion", "load_plan"]


@dataclass(frozen=True)
class Rows:
    """Rows of one part.

    Attributes:
      inputs: uint8 pictures ``[N, S, S, 3]`` or float32 features ``[N, D]``.
      target: int32 ``[N]``, class of the plan. fine: int32 ``[N]``, fine class where it is known, else -1.
      names: ``[N]``. source: where they came from, for pictures at full size.
      truth: other columns ``[N]``, such as the drawn coat.
    """

    inputs: np.ndarray
    target: np.ndarray
    fine: np.ndarray
    names: np.ndarray
    source: Source
    truth: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.target)

    def take(self, places: np.ndarray) -> "Rows":
        """These rows only."""
        return Rows(
            self.inputs[places], self.target[places], self.fine[places], self.names[places],
            jlabel.data.subset(self.source, places), {k: v[places] for k, v in self.truth.items()},
        )  # fmt: skip


@dataclass(frozen=True)
class FusionData:
    """One seed's data; ``val`` is None where the data has no validation rows.

    Of several coarse sets the first is the one that coarse accuracy is told for.
    """

    train: Rows
    coarse: Rows | None
    val: Rows | None
    test: Rows
    fine_set: str
    coarse_sets: tuple[str, ...] = ()


def load_plan(
    graph: str, *, max_paths: int, keep: float, seed: int, anchors: int | None = None, label_sets: tuple[str, ...] = (),
    contract: bool = False, use_tree: bool | None = None,
) -> PathPlan:  # fmt: skip
    """The plan of a graph by name or file, trimmed to a fraction of its attributes or of what decides nothing."""
    if graph == "drawn_pets" and anchors not in (None, 3):
        from jlabel.data.graphs import graph_from_table

        built = build_graph(
            graph_from_table(
                jlabel.data.drawn_pets_table(anchors), name=f"drawn_pets, {anchors} anchors", root="animal"
            )
        )
    else:
        built = build_graph(jlabel.data.load_graph(graph))
    if not built.label_sets:
        raise DataError(f"graph {graph!r} has no label sets, so no data can be matched to it; add label_sets")
    if label_sets:
        built = restrict_graph(built, label_sets)
    if keep < 1:
        built = trim_graph(built, keep, key=jax.random.key(seed))
    if contract:
        built = contract_graph(built)
    return plan_paths(built, max_paths=max_paths, key=jax.random.key(seed), use_tree=use_tree)


def load_fusion(
    *,
    data: str,
    coarse_data: str,
    plan: PathPlan,
    encoder_name: str,
    image_size: int | None,
    seed: int,
    fine_per_class: int | None = None,
    coarse_per_class: int | None = None,
    coarse_sets: tuple[str, ...] = (),
    test_split: str = "test",
    skip_broken: bool = False,
) -> tuple[FusionData, Encoder]:
    """Open both datasets, match their labels to the graph and load their rows.

    ``coarse_data="rest"`` keeps ``fine_per_class`` rows a class of the fine data (drawn by the seed) and uses the
    others, at most ``coarse_per_class`` of each, as coarse rows; which of ``coarse_sets`` labels a row is drawn for
    each. A pretrained encoder's features are computed once and cached.
    """
    graph = plan.graph
    train, held_val, held_test = _open_splits(data, test_split, skip_broken)
    fine_set, fine_places = match_labels(graph, train.label_names, dataset=data)
    net = (
        encoder(encoder_name, image_size=image_size)
        if train.kind == "image"
        else encoder("identity", dim=int(np.shape(train.content(0))[0]))
    )
    params = net.init(jax.random.key(0)) if net.pretrained else None
    encode = jax.jit(lambda images: net.apply(params, images)) if net.pretrained else None

    def rows(source: Source, label_set: str, places: np.ndarray, fine: bool) -> Rows:
        if (source.labels < 0).any():
            name = str(source.column("name")[np.argmax(source.labels < 0)])
            raise DataError(f"{source.spec}: row {name!r} has no label; remove it or label it")
        if encode is not None and source.kind == "image":
            inputs = jlabel.data.encode_features(source, encode, identity=net.identity, image_size=net.image_size)
            columns = dict(source.columns)
        else:
            arrays = jlabel.data.load_arrays(source, image_size=net.image_size or None)
            inputs = arrays.pop(source.kind)
            columns = arrays
        own = places[source.labels]
        truth = {k: np.asarray(v) for k, v in columns.items() if k not in ("label", "name")}
        fine_class = own.astype(np.int32) if fine else _oracle_classes(truth, graph, fine_set.name)
        return Rows(inputs, plan.targets(label_set, own), fine_class, np.asarray(columns["name"]), source, truth)

    test = rows(held_test, fine_set.name, fine_places, True)
    val = rows(held_val, fine_set.name, fine_places, True) if held_val is not None else None
    if val is None and encode is None and train.kind == "image":
        # End-to-end training has no folds: hold a sixth of the fine rows out for the temperature.
        train, held = jlabel.data.split_rows(train, fraction=1 / 6, seed=seed)
        val = rows(held, fine_set.name, fine_places, True)
    train_rows = rows(train, fine_set.name, fine_places, True)
    coarse = None
    if coarse_data == "rest":
        if fine_per_class is None or not coarse_sets:
            raise DataError("--coarse_data=rest needs --fine_per_class and --coarse_set")
        train_rows, coarse = coarsen(
            train_rows, plan, fine_set.name, coarse_sets, per_class=fine_per_class, coarse_per_class=coarse_per_class,
            seed=seed,
        )  # fmt: skip
    elif coarse_data:
        source = jlabel.data.open(coarse_data, "train", skip_broken=skip_broken)
        _check_like(source, train)
        if len(coarse_sets) > 1:
            raise DataError(f"--coarse_set={','.join(coarse_sets)}: several label sets are for --coarse_data=rest")
        wanted = coarse_sets[0] if coarse_sets else None
        found, places = match_labels(graph, source.label_names, dataset=coarse_data, label_set=wanted)
        coarse, coarse_sets = rows(source, found.name, places, False), (found.name,)
    else:
        coarse_sets = ()
    return FusionData(train_rows, coarse, val, test, fine_set.name, coarse_sets), net


def _open_splits(spec: str, test_split: str, skip_broken: bool) -> tuple[Source, Source | None, Source]:
    """Training, validation (if there are any) and test rows; data without test rows gives a fifth of each class."""

    def optional(split: str) -> Source | None:
        try:
            return jlabel.data.open(spec, split, skip_broken=skip_broken)
        except SplitError:
            return None

    train = jlabel.data.open(spec, "train", skip_broken=skip_broken)
    if test_split != "test":
        chosen = jlabel.data.open(spec, test_split, skip_broken=skip_broken)
        return train, None if chosen.split == "val" else optional("val"), chosen
    val, test = optional("val"), optional("test")
    if test is None:
        train, test = jlabel.data.split_rows(train, fraction=0.2, seed=0)
        test = dataclasses.replace(test, skipped=())  # the training rows list them
    return train, val, test


def _check_like(source: Source, train: Source) -> None:
    """Refuse coarse rows that one encoder cannot take beside the fine ones."""
    given, wanted = (
        "pictures" if part.kind == "image" else f"rows of {len(part.content(0))} features" for part in (source, train)
    )
    if given != wanted:
        raise DataError(f"{source.spec} holds {given}, but {train.spec} holds {wanted}; give both the same")


def _oracle_classes(truth: dict[str, np.ndarray], graph: LabelGraph, fine_set: str) -> np.ndarray:
    """Fine classes of coarse rows, where a generator kept them (columns ``breed`` or ``kind``)."""
    for column in ("breed", "kind"):
        if (
            column in truth
            and truth[column].dtype.kind in "iu"
            and len(graph.label_set(fine_set).labels) > truth[column].max()
        ):
            return truth[column].astype(np.int32)
    size = len(next(iter(truth.values()))) if truth else 0
    return np.full(size, -1, np.int32)


def coarsen(
    rows: Rows, plan: PathPlan, fine_set: str, coarse_sets: tuple[str, ...], *, per_class: int,
    coarse_per_class: int | None, seed: int,
) -> tuple[Rows, Rows]:  # fmt: skip
    """Keep some rows of each class; give the rest a label of a coarse set, drawn for each, that lies on their paths."""
    graph = plan.graph
    generator = np.random.default_rng(seed)
    kept, rest = [], []
    for c in np.unique(rows.fine):
        members = generator.permutation(np.flatnonzero(rows.fine == c))
        kept.append(members[:per_class])
        rest.append(members[per_class:][:coarse_per_class])
    other = rows.take(np.sort(np.concatenate(rest)))
    fine_nodes = np.asarray(graph.label_set(fine_set).nodes)
    targets = []
    for name in coarse_sets:
        nodes = np.asarray(graph.label_set(name).nodes)
        above = graph.reaches[nodes][:, fine_nodes] | (nodes[:, None] == fine_nodes[None])
        missing = np.flatnonzero(~above.any(0)[other.fine])
        if len(missing):
            label = graph.label_set(fine_set).labels[other.fine[missing[0]]]
            raise DataError(f"label {label!r} lies below no label of --coarse_set={name}")
        targets.append(plan.targets(name, above.argmax(0)[other.fine]))
    drawn = generator.integers(len(coarse_sets), size=len(other)) if len(coarse_sets) > 1 else np.zeros(len(other), int)
    target = np.stack(targets)[drawn, np.arange(len(other))]
    return rows.take(np.sort(np.concatenate(kept))), dataclasses.replace(other, target=target)
