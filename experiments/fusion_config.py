"""Settings of a fusion study and the flags that set them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from absl import flags

from experiments import common
from experiments.fusion_methods import METHODS, SVM
from jlabel import InputError
from jlabel.networks import ENCODERS, TEXT_ENCODERS
from jlabel.training import check_positive

__all__ = ["DEFAULT_METHODS", "FusionConfig", "define_flags"]

DEFAULT_METHODS = tuple(m for m in METHODS if m not in ("graph fused (marginal)", SVM))
CHOICES = {
    "objective": ("paths", "marginal"),
    "credit": ("certain", "all"),
    "competition": ("block", "component"),
    "pool": ("mean", "sum", "random"),
    "baseline": ("leave_one_out", "moving_average", "none"),
    "gate": ("uniform", "learned", "none"),
    "decode": ("posterior", "beam", "greedy"),
}


@dataclass(frozen=True)
class FusionConfig:
    """Settings of a fusion study; each is a flag of the same name."""

    experiment: str
    data: str
    coarse_data: str
    graph: str
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 300
    batch_size: int = 32
    learning_rate: float | None = None
    weight_decay: float | None = None
    encoder: str = "cnn"
    image_size: int | None = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    fine_per_class: int | None = None
    fine_fraction: float | None = None
    coarse_per_class: int | None = None
    coarse_set: tuple[str, ...] = ()
    test_split: str = "test"
    fine_counts: tuple[int, ...] = ()
    label_sets: tuple[str, ...] = ()
    hidden: int = 128
    skip: bool = True
    upward: bool = False
    contract: bool = False
    head_hidden: int = 0
    objective: str = "paths"
    credit: str = "certain"
    competition: str = "block"
    teacher_forcing: float = 1.0
    pool: str = "mean"
    max_paths: int = 64
    samples: int = 8
    baseline: str = "leave_one_out"
    alpha: float = 1.0
    beta: float = 1.0
    gate: str = "uniform"
    graph_keep: float = 1.0
    decode: str = "posterior"
    anchors: int = 3
    augment: bool = True
    folds: int = 3
    tune: bool = False
    rates: tuple[float, ...] = ()
    balance: bool = True
    fine_tune: bool = False
    layer_decay: float = 0.8
    accumulate: int = 1
    remat: bool = False
    bfloat16: bool = False
    max_length: int | None = None
    token_pool: str | None = None
    vectors: str | None = None
    text_features: int | None = None
    checkpoint_every: int | None = None
    skip_broken: bool = False
    mesh: str | None = None
    distributed: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is written."""
        for name in ("steps", "batch_size", "max_paths", "samples", "folds", "accumulate"):
            check_positive(name, getattr(self, name), whole=True)
        for name in (
            "learning_rate", "fine_per_class", "coarse_per_class", "checkpoint_every", "image_size", "max_length",
            "text_features",
        ):  # fmt: skip
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name), whole=name != "learning_rate")
        for rate in self.rates:
            check_positive("rates", rate)
        for count in self.fine_counts:
            check_positive("fine_counts", count, whole=True)
        if self.fine_counts and (self.coarse_data != "rest" or self.fine_per_class is None):
            raise InputError("fine_counts needs coarse_data=rest and fine_per_class, whose choices it takes over")
        for count in self.fine_counts:
            if self.coarse_per_class is not None and count >= (self.fine_per_class or 0) + self.coarse_per_class:
                raise InputError(f"fine_counts: {count} leaves no coarse rows of {self.coarse_per_class} a class")
        if self.fine_fraction is not None and not 0 < self.fine_fraction < 1:
            raise InputError(f"fine_fraction={self.fine_fraction} must lie between 0 and 1")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"layer_decay={self.layer_decay} must lie above 0 and be at most 1")
        if self.encoder not in (*ENCODERS, "lstm", "minilm") and not self.encoder.startswith("bert:"):
            names = ", ".join([*ENCODERS, *TEXT_ENCODERS])
            raise InputError(f"encoder={self.encoder!r}: choose one of {names}")
        if not self.data:
            raise InputError("data is missing: give --data=..., as jlabel.data.open takes it; see --help")
        if self.hidden < 0 or (self.hidden == 0 and not self.skip):
            raise InputError(f"hidden={self.hidden} must be at least 1, or 0 with skip")
        if self.folds < 2:
            raise InputError(f"folds={self.folds}: at least 2 are needed to hold rows out")
        if self.weight_decay is not None and not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay={self.weight_decay} must be at least 0 and finite")
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name}={getattr(self, name)} must be at least 0 and finite")
        for name in ("teacher_forcing", "graph_keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)} must lie in [0, 1]")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(allowed)}")
        if self.baseline == "leave_one_out" and self.samples < 2:
            raise InputError("samples=1: baseline=leave_one_out needs at least 2 samples")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds={self.seeds}: give at least one, each once")
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise InputError(f"methods: {', '.join(unknown) or 'none given'}; choose from {', '.join(METHODS)}")
        if "pseudo labels" in self.methods and "FFN" not in self.methods:
            raise InputError("methods: pseudo labels need FFN, whose guesses they are; add FFN")
        if not 0 <= self.anchors <= 3:
            raise InputError(f"anchors={self.anchors} must lie in 0..3")


def define_flags(*, experiment: str, data: str, coarse_data: str, graph: str, **defaults: Any) -> None:
    """Define a fusion study's flags, with its own defaults."""
    d: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(FusionConfig)} | defaults
    common.define_shared_flags(
        data=data, workdir=f"runs/{experiment}", seeds=",".join(map(str, d["seeds"])), steps=d["steps"],
        batch_size=d["batch_size"],
    )  # fmt: skip
    flags.DEFINE_string(
        "coarse_data", coarse_data, "Coarse data, as --data; rest: the fine rows beyond --fine_per_class; empty: none."
    )
    flags.DEFINE_string("graph", graph, "Label graph: a shipped name, or a JSON or CSV file.")
    flags.DEFINE_string(
        "encoder", d["encoder"], f"{', '.join([*ENCODERS, *TEXT_ENCODERS])}. A pretrained one is frozen, its features "
        "cached, unless --fine_tune."
    )  # fmt: skip
    flags.DEFINE_integer("image_size", d["image_size"], "Side of the pictures in pixels; by default the encoder's own.")
    flags.DEFINE_list("methods", list(d["methods"]), "Rows of the table: " + ", ".join(METHODS) + ".")
    flags.DEFINE_integer(
        "fine_per_class", d["fine_per_class"], "With --coarse_data=rest: rows of a class that keep their label."
    )
    flags.DEFINE_float(
        "fine_fraction", d["fine_fraction"], "Instead of --fine_per_class: this share of each class keeps its label."
    )
    flags.DEFINE_integer(
        "coarse_per_class", d["coarse_per_class"], "With --coarse_data=rest: at most this many coarse rows of a class."
    )
    flags.DEFINE_list(
        "coarse_set", list(d["coarse_set"]), "Label set of the coarse data; by default the smallest that fits. Of "
        "several, with --coarse_data=rest, each row has a label of one."
    )  # fmt: skip
    flags.DEFINE_string("test_split", d["test_split"], "Split of --data that is the test rows.")
    flags.DEFINE_list(
        "fine_counts", list(d["fine_counts"]), "With --coarse_data=rest and fixed features: also train with these "
        "numbers of fine rows a class, and draw accuracy against them."
    )  # fmt: skip
    flags.DEFINE_float("weight_decay", None, "Weight decay; by default chosen on validation rows.")
    flags.DEFINE_integer(
        "hidden", d["hidden"], "Width of the path decoder's recurrent unit; 0 for none, linear scores alone."
    )
    flags.DEFINE_list("label_sets", list(d["label_sets"]), "Label sets to use of a larger graph; by default all.")
    flags.DEFINE_bool("skip", d["skip"], "Path decoder: add a linear score of the features to every node.")
    flags.DEFINE_bool("upward", d["upward"], "With --skip: the linear score of a node includes those of what is below.")
    flags.DEFINE_bool("contract", d["contract"], "Leave out nodes of the graph that decide nothing: shorter paths.")
    flags.DEFINE_bool(
        "tune", False, "End-to-end training: choose each method's learning rate on validation rows of two seeds."
    )
    flags.DEFINE_list("rates", list(d["rates"]), "Learning rates to choose from, in place of the study's own.")
    flags.DEFINE_bool(
        "balance", d["balance"], "Draw fine classes equally often and choose by balanced accuracy; otherwise as they "
        "are, and by accuracy."
    )  # fmt: skip
    flags.DEFINE_bool("fine_tune", False, "Train a pretrained encoder too, from its weights.")
    flags.DEFINE_float("layer_decay", d["layer_decay"], "With --fine_tune of a BERT: rate of a layer over the next's.")
    flags.DEFINE_integer("accumulate", 1, "End-to-end training: batches whose gradients make one step.")
    flags.DEFINE_bool("remat", False, "BERT: less memory, more time: compute inner values again in the backward pass.")
    flags.DEFINE_bool("bfloat16", False, "Text encoders: compute in bfloat16; parameters stay float32.")
    flags.DEFINE_integer("max_length", d["max_length"], "Most tokens of a text; by default the encoder's own.")
    flags.DEFINE_string("token_pool", None, "Text encoders: mean, max, cls (BERT) or last (lstm); default its own.")
    flags.DEFINE_integer("text_features", d["text_features"], "lstm: number of features, even; by default 256.")
    flags.DEFINE_string("vectors", None, "lstm: a GloVe file that the word table starts from.")
    flags.DEFINE_integer("head_hidden", d["head_hidden"], "Hidden layer of the flat heads; 0 for a linear head.")
    flags.DEFINE_enum(
        "objective", d["objective"], CHOICES["objective"], "Deterministic + sampled paths, or the exact marginal."
    )
    flags.DEFINE_enum(
        "credit",
        d["credit"],
        CHOICES["credit"],
        "certain: the reward never trains the choice of uncertain nodes; all: Eq. 5.",
    )
    flags.DEFINE_enum(
        "competition",
        d["competition"],
        CHOICES["competition"],
        "Who competes in training: a block, or all connected by blocks.",
    )
    flags.DEFINE_float(
        "teacher_forcing", d["teacher_forcing"], "Probability of feeding the true node, one coin a batch."
    )
    flags.DEFINE_enum("pool", d["pool"], CHOICES["pool"], "How a row's deterministic paths are pooled.")
    flags.DEFINE_integer("max_paths", d["max_paths"], "Paths of a label beyond which some are drawn.")
    flags.DEFINE_integer("samples", d["samples"], "Sampled paths of a row.")
    flags.DEFINE_enum("baseline", d["baseline"], CHOICES["baseline"], "Baseline of the score function.")
    flags.DEFINE_float("alpha", d["alpha"], "Weight of the deterministic paths.")
    flags.DEFINE_float("beta", d["beta"], "Weight of the nondeterministic paths.")
    flags.DEFINE_enum("gate", d["gate"], CHOICES["gate"], "Choice between the blocks of a node.")
    flags.DEFINE_float("graph_keep", d["graph_keep"], "Fraction of the attribute nodes to keep (ablation).")
    flags.DEFINE_enum(
        "decode", d["decode"], CHOICES["decode"], "How the graph's label is read: exact posterior, beam or greedy path."
    )
    flags.DEFINE_integer("anchors", d["anchors"], "drawn_pets: breeds of a species that fix their coat, 0 to 3.")
    flags.DEFINE_bool(
        "augment",
        d["augment"],
        "End-to-end training: mirror, shift, re-light pictures; drop words.",
    )
    flags.DEFINE_integer(
        "folds", d["folds"], "Folds of the fine rows for choosing hyper-parameters where there are no validation rows."
    )
    flags.DEFINE_integer(
        "checkpoint_every", d["checkpoint_every"], "Steps between checkpoints; by default one at the end of each run."
    )
    flags.DEFINE_bool("skip_broken", False, "Leave out rows that cannot be read; they are counted and listed.")
