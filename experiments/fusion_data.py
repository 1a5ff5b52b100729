"""Data of a fusion study: fine rows, coarse rows and their classes in one label graph."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import jlabel.data
from jlabel.data import DataError, Source, SplitError
from jlabel.data.source import object_array
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
from jlabel.networks import ENCODERS, Encoder, encoder, text_encoder

__all__ = ["FusionData", "Rows", "coarsen", "is_frozen", "load_fusion", "load_plan", "make_encoder"]


@dataclass(frozen=True)
class Rows:
    """Rows of one part.

    Attributes:
      inputs: uint8 pictures ``[N, S, S, 3]``, float32 features ``[N, D]`` or int32 token ids ``[N, L]``.
      target: int32 ``[N]``, class of the plan. fine: int32 ``[N]``, fine class where it is known, else -1.
      names: ``[N]``. source: where they came from, for pictures at full size.
      truth: other columns ``[N]``, such as the drawn coat. texts: the texts ``[N]``, or None.
      targets: classes of the plan of rows with several labels, ``[N]`` tuples, the first as ``target``; else None.
      fine_sets: bool ``[N, F]``, all fine classes of such rows, or None.
    """

    inputs: np.ndarray
    target: np.ndarray
    fine: np.ndarray
    names: np.ndarray
    source: Source
    truth: dict[str, np.ndarray]
    texts: np.ndarray | None = None
    targets: np.ndarray | None = None
    fine_sets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.target)

    def take(self, places: np.ndarray) -> "Rows":
        """These rows only."""
        texts, targets, fine_sets = (
            None if x is None else x[places] for x in (self.texts, self.targets, self.fine_sets)
        )
        return Rows(
            self.inputs[places], self.target[places], self.fine[places], self.names[places],
            jlabel.data.subset(self.source, places), {k: v[places] for k, v in self.truth.items()}, texts, targets,
            fine_sets,
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
    config: Any, plan: PathPlan, *, data: str, coarse_data: str, seed: int, net: Encoder | None = None
) -> tuple[FusionData, Encoder]:
    """Open both datasets, match their labels to the graph and load their rows.

    ``coarse_data="rest"`` keeps some rows a class of the fine data (``fine_per_class`` or ``fine_fraction``, drawn by
    the seed) and uses the others, at most ``coarse_per_class`` of each, as coarse rows; which of the sets in
    ``coarse_set`` labels a row is drawn for each. A frozen encoder's features are computed once and cached.

    Args:
      config: settings of the study. plan: of its graph. data, coarse_data: as `jlabel.data.open` takes them. seed: of
        what is drawn. net: the encoder, where another seed has made it; its vocabulary then stays.
    """
    graph = plan.graph
    train, held_val, held_test = _open_splits(data, config.test_split, config.skip_broken)
    coarse_source = None
    if coarse_data == "rest":
        if (config.fine_per_class is None) == (config.fine_fraction is None) or not config.coarse_set:
            raise DataError("--coarse_data=rest needs --coarse_set and one of --fine_per_class and --fine_fraction")
    elif coarse_data:
        coarse_source = jlabel.data.open(coarse_data, "train", skip_broken=config.skip_broken)
        _check_like(coarse_source, train)
        if len(config.coarse_set) > 1:
            raise DataError(
                f"--coarse_set={','.join(config.coarse_set)}: several label sets are for --coarse_data=rest"
            )
    fine_set, fine_places = match_labels(graph, train.label_names, dataset=data)
    net = net or make_encoder(config, train, coarse_source)
    prepare = _preparation(config, net)

    def rows(source: Source, label_set: str, places: np.ndarray, fine: bool) -> Rows:
        if (source.labels < 0).any():
            name = str(source.column("name")[np.argmax(source.labels < 0)])
            raise DataError(f"{source.spec}: row {name!r} has no label; remove it or label it")
        inputs, texts = prepare(source)
        own = places[source.labels]
        target = plan.targets(label_set, own)
        truth = {k: np.asarray(v) for k, v in source.columns.items() if k not in ("label", "labels", "name")}
        fine_class = own.astype(np.int32) if fine else _oracle_classes(truth, graph, fine_set.name)
        targets, fine_sets = None, None
        if "labels" in source.columns:
            first = plan.offsets[label_set]
            several = [[int(places[c]) for c in row] for row in source.columns["labels"]]
            targets = object_array([tuple(first + c for c in row) for row in several])
            if fine:
                fine_sets = np.zeros((len(own), len(fine_set.labels)), bool)
                for row, classes in enumerate(several):
                    fine_sets[row, classes] = True
        names = np.asarray(source.columns["name"])
        return Rows(inputs, target, fine_class, names, source, truth, texts, targets, fine_sets)

    test = rows(held_test, fine_set.name, fine_places, True)
    val = rows(held_val, fine_set.name, fine_places, True) if held_val is not None else None
    if val is None and not is_frozen(net, config):
        # End-to-end training has no folds: hold a sixth of the fine rows out for the temperature.
        train, held = jlabel.data.split_rows(train, fraction=1 / 6, seed=seed)
        val = rows(held, fine_set.name, fine_places, True)
    train_rows = rows(train, fine_set.name, fine_places, True)
    coarse, coarse_sets = None, config.coarse_set
    if coarse_data == "rest":
        train_rows, coarse = coarsen(train_rows, plan, fine_set.name, config, seed)
    elif coarse_source is not None:
        wanted = coarse_sets[0] if coarse_sets else None
        found, places = match_labels(graph, coarse_source.label_names, dataset=coarse_data, label_set=wanted)
        coarse, coarse_sets = rows(coarse_source, found.name, places, False), (found.name,)
    else:
        coarse_sets = ()
    parts = FusionData(train_rows, coarse, val, test, fine_set.name, coarse_sets)
    return _without_padding(parts) if net.kind == "text" and not is_frozen(net, config) else parts, net


def _without_padding(data: FusionData) -> FusionData:
    """Token ids ``[N, L]`` of all parts cut to their longest row, in steps of 8."""
    parts = {name: rows for name, rows in vars(data).items() if isinstance(rows, Rows)}
    longest = max(int((rows.inputs != 0).sum(1).max()) for rows in parts.values())
    length = -(-longest // 8) * 8
    cut: dict[str, Any] = {
        name: dataclasses.replace(rows, inputs=rows.inputs[:, :length]) for name, rows in parts.items()
    }
    return dataclasses.replace(data, **cut)


def make_encoder(config: Any, train: Source, coarse: Source | None) -> Encoder:
    """The encoder for this kind of rows; a vocabulary is learnt from the training texts, fine and coarse."""
    if train.kind == "features":
        return encoder("identity", dim=int(np.shape(train.content(0))[0]))
    takes = "image" if config.encoder in ENCODERS else "text"
    if takes != train.kind:
        kinds = {"image": "pictures", "text": "texts"}
        raise DataError(f"{train.spec} holds {kinds[train.kind]}, but --encoder={config.encoder} takes {kinds[takes]}")
    if takes == "image":
        return encoder(config.encoder, image_size=config.image_size)
    options: dict[str, Any] = {"max_length": config.max_length, "pool": config.token_pool, "bfloat16": config.bfloat16}
    if config.encoder == "lstm":
        sources = [train] if coarse is None else [train, coarse]
        texts = (str(source.content(i)) for source in sources for i in range(len(source)))
        return text_encoder("lstm", texts=texts, vectors=config.vectors, dim=config.text_features, **options)
    return text_encoder(config.encoder, remat=config.remat, **options)


def is_frozen(net: Encoder, config: Any) -> bool:
    """Whether only heads are trained, on features that stay."""
    return net.kind == "features" or (net.pretrained and not config.fine_tune)


def _preparation(config: Any, net: Encoder) -> Callable[[Source], tuple[np.ndarray, np.ndarray | None]]:
    """From a source to inputs and texts: pictures, token ids of one length, or the features of a frozen encoder."""
    frozen = is_frozen(net, config)
    # Read where the encoder is trained too, so that damaged weights are told before anything is written.
    params = net.init(jax.random.key(0)) if net.pretrained else None
    encode = jax.jit(lambda inputs: net.apply(params, inputs)) if frozen and net.pretrained else None

    def prepare(source: Source) -> tuple[np.ndarray, np.ndarray | None]:
        if net.kind != "text":
            if encode is not None:
                size = net.image_size
                return jlabel.data.encode_features(source, encode, identity=net.identity, image_size=size), None
            return jlabel.data.load_arrays(source, image_size=net.image_size or None)[source.kind], None
        assert net.tokenizer is not None
        texts, length = jlabel.data.load_arrays(source)["text"], net.tokenizer.max_length
        if encode is None:
            return net.tokenizer.pad(net.tokenizer.encode(texts.tolist()), length), texts
        found = jlabel.data.encode_texts(
            source, encode, net.tokenizer.encode, identity=net.identity, max_length=length
        )  # fmt: skip
        return found, texts

    return prepare


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
        {"image": "pictures", "text": "texts"}.get(part.kind) or f"rows of {len(part.content(0))} features"
        for part in (source, train)
    )
    if given != wanted:
        raise DataError(f"{source.spec} holds {given}, but {train.spec} holds {wanted}; give both the same")


def _oracle_classes(truth: dict[str, np.ndarray], graph: LabelGraph, fine_set: str) -> np.ndarray:
    """Fine classes of coarse rows, where a generator kept them (``breed``, ``kind`` or ``category``)."""
    for column in ("breed", "kind", "category"):
        if (
            column in truth
            and truth[column].dtype.kind in "iu"
            and len(graph.label_set(fine_set).labels) > truth[column].max()
        ):
            return truth[column].astype(np.int32)
    size = len(next(iter(truth.values()))) if truth else 0
    return np.full(size, -1, np.int32)


def coarsen(rows: Rows, plan: PathPlan, fine_set: str, config: Any, seed: int) -> tuple[Rows, Rows]:
    """Keep some rows of each class; give the rest a label of a coarse set, drawn for each, that lies on their paths."""
    graph = plan.graph
    generator = np.random.default_rng(seed)
    kept, rest = [], []
    for c in np.unique(rows.fine):
        members = generator.permutation(np.flatnonzero(rows.fine == c))
        count = config.fine_per_class or max(1, round(config.fine_fraction * len(members)))
        kept.append(members[:count])
        rest.append(members[count:][: config.coarse_per_class])
    if not sum(map(len, rest)):
        raise DataError("--coarse_data=rest: every row keeps its fine label, so no coarse rows are left; keep fewer")
    other = rows.take(np.sort(np.concatenate(rest)))
    fine_nodes = np.asarray(graph.label_set(fine_set).nodes)
    coarse_of = []  # class of the plan above each fine class, for each coarse set
    for name in config.coarse_set:
        nodes = np.asarray(graph.label_set(name).nodes)
        above = graph.reaches[nodes][:, fine_nodes] | (nodes[:, None] == fine_nodes[None])
        missing = np.flatnonzero(~above.any(0)[other.fine])
        if len(missing):
            label = graph.label_set(fine_set).labels[other.fine[missing[0]]]
            raise DataError(f"label {label!r} lies below no label of --coarse_set={name}")
        coarse_of.append(np.where(above.any(0), plan.targets(name, above.argmax(0)), -1))
    table = np.stack(coarse_of)
    several = len(table) > 1
    drawn = generator.integers(len(table), size=len(other)) if several else np.zeros(len(other), int)
    targets = None
    if other.targets is not None:
        first = plan.offsets[fine_set]
        found = ([table[d, c - first] for c in row] for d, row in zip(drawn, other.targets, strict=True))
        targets = object_array([tuple(int(c) for c in dict.fromkeys(row) if c >= 0) for row in found])
    other = dataclasses.replace(other, target=table[drawn, other.fine], targets=targets)
    return rows.take(np.sort(np.concatenate(kept))), other
