"""Settings and flags of `experiments.tabular`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from absl import flags

from experiments.common import from_flags
from jlabel import InputError
from jlabel.training import check_positive

__all__ = ["METHODS", "OWN_METHODS", "STUDIES", "TabularConfig", "config_of", "define_flags", "objective_of"]

EMBEDDED = "embedded:profiles"
STUDIES = ("semi", "supervised", "robustness", "embeddings", "own")
OBJECTIVES = ("mlm", "rtd")
FOLDS = 5
TRAINED = (  # also what the sheet of a study shows, from top to bottom
    "prior", "oracle", "logistic", "gbdt", "gbdt_pl", "mlp", "mlp_er", "mlp_pl", "mlp_dae", "sparse_mlp", "vib",
    "tabnet", "tabtransformer", "tabtransformer_er", "tabtransformer_pl",
)  # fmt: skip
METHODS = (*TRAINED, *(objective + more for objective in OBJECTIVES for more in ("", "_er", "_pl")))
OWN_METHODS = tuple(name for name in METHODS if name not in ("oracle", "mlp_dae", "sparse_mlp", "vib", "tabnet"))
_UNLABELLED = ("_er", "_pl")  # how names of methods end that learn from rows without labels
_FEW = ("prior", "oracle", "logistic", "gbdt", "mlp", "tabtransformer", *OBJECTIVES)  # what five minutes allow
_OWN = ("logistic", "gbdt", "mlp", "tabtransformer", *OBJECTIVES)
# What a study changes in the defaults of the flags: all labels take more steps, and splits do for seeds.
_WHOLE: dict[str, Any] = {"labelled": (), "steps": 2000}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "own": {"labelled": (), "seeds": (0,), "methods": _OWN},
    "supervised": {
        **_WHOLE,
        "seeds": (0,),
        "splits": tuple(range(FOLDS)),
        "methods": tuple(name for name in TRAINED if not name.endswith(_UNLABELLED) and name != "mlp_dae"),
    },
    "robustness": _WHOLE,
    "embeddings": _WHOLE,
}


@dataclass(frozen=True)
class TabularConfig:
    """Settings of a run; each is a flag of the same name."""

    experiment: str = "tabular"
    study: str = "semi"
    data: str = EMBEDDED
    target: str = "target"
    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    id_column: str = ""
    split_column: str = ""
    labelled: tuple[int, ...] = (50, 200, 500)
    methods: tuple[str, ...] = _FEW
    objectives: tuple[str, ...] = OBJECTIVES
    embedding_size: int = 32
    num_layers: int = 2
    num_heads: int = 8
    dropout: float = 0.1
    norm: str = "post"
    bins: int = 0
    max_hidden: int | None = None
    pretraining_steps: int = 2000
    pretraining_rate: float | None = None
    steps: int = 300
    batch_size: int = 256
    tuning_rounds: int = 0
    small_validation: bool = False
    splits: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0, 1, 2)
    side_by_side: int = 16
    model: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        for name, known in {"study": STUDIES, "norm": ("post", "pre")}.items():
            if getattr(self, name) not in known:
                raise InputError(f"--{name}={getattr(self, name)}: choose one of {', '.join(known)}")
        for name, known in {"methods": METHODS, "objectives": OBJECTIVES}.items():
            for value in getattr(self, name):
                if value not in known:
                    raise InputError(f"--{name}={value}: choose from {', '.join(known)}")
        for name in ("categorical", "drop", "labelled", "methods", "objectives", "splits", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name}={','.join(map(str, values))}: give each once")
        for name in ("embedding_size", "num_heads", "pretraining_steps", "steps", "batch_size", "side_by_side"):
            check_positive(f"--{name}", getattr(self, name), whole=True)
        if self.max_hidden is not None:
            check_positive("--max_hidden", self.max_hidden, whole=True)
        if self.pretraining_rate is not None:
            check_positive("--pretraining_rate", self.pretraining_rate)
        if self.bins < 0:
            raise InputError(
                f"--bins={self.bins}: give 1 or more to make tokens of the numbers, 0 to pass them as they are"
            )
        if self.num_layers < 0 or (self.num_layers == 0 and self.study in ("robustness", "embeddings")):
            raise InputError(f"--num_layers={self.num_layers}: give 1 or more; 0 is the method mlp")
        if self.embedding_size % self.num_heads:
            raise InputError(
                f"--num_heads={self.num_heads} does not divide --embedding_size={self.embedding_size}: choose one that "
                "does"
            )
        if not (math.isfinite(self.dropout) and 0 <= self.dropout < 1):
            raise InputError(f"--dropout={self.dropout:g}: give a rate from 0 to below 1")
        if self.tuning_rounds < 0:
            raise InputError(f"--tuning_rounds={self.tuning_rounds}: give 0 or more")
        if not self.splits or not all(0 <= split < FOLDS for split in self.splits):
            raise InputError(
                f"--splits={','.join(map(str, self.splits))}: give numbers from 0 to {FOLDS - 1}: five parts of the "
                "rows take turns as the test rows"
            )
        if not self.seeds or min(self.seeds) < 0:
            raise InputError(f"--seeds={','.join(map(str, self.seeds))}: give whole numbers from 0 on")
        if any(count < 2 for count in self.labelled):
            raise InputError(f"--labelled={min(self.labelled)}: give 2 or more")
        self._check_study()

    def _check_study(self) -> None:
        """What one study needs, and another cannot have."""
        file = self.data.startswith(("csv:", "parquet:"))
        if not file and not self.data.startswith("embedded:"):
            raise InputError(f"--data={self.data}: give embedded:profiles, csv:FILE or parquet:FILE")
        if self.model and not file:
            raise InputError(f"--model={self.model} predicts new rows: give them, as in --data=csv:new.csv")
        if not self.methods:
            raise InputError(f"--methods is empty: choose from {', '.join(METHODS)}")
        if self.study == "semi" and not self.labelled:
            raise InputError("--labelled is empty: give one or more numbers of labelled rows, as in --labelled=50,200")
        if self.study == "supervised":
            for name in self.methods:
                if name.endswith(_UNLABELLED):
                    raise InputError(f"--methods={name} learns from unlabelled rows, and --study=supervised has none")
        if self.study == "own":
            self._check_own()

    def _check_own(self) -> None:
        if not self.data.startswith(("csv:", "parquet:")):
            raise InputError(f"--data={self.data}: give your rows, as in --data=csv:rows.csv")
        for name in self.methods:
            if name not in OWN_METHODS:
                raise InputError(
                    f"--methods={name} with your own rows: choose from {', '.join(OWN_METHODS)}, or compare all with "
                    "--study=semi"
                )
        for name in ("labelled", "seeds"):
            if len(getattr(self, name)) > 1:
                raise InputError(
                    f"--{name}={','.join(map(str, getattr(self, name)))}: give one number with your own rows"
                )

    @property
    def rows(self) -> tuple[str, ...]:
        """The chosen methods from top to bottom, those of other pre-trainings left out."""
        return tuple(
            name for name in METHODS if name in self.methods and objective_of(name) in (None, *self.objectives)
        )


def objective_of(method: str) -> str | None:
    """The pre-training that a method starts from: "mlm" of "mlm_er"."""
    first = method.partition("_")[0]
    return first if first in OBJECTIVES else None


def config_of(values: flags.FlagValues) -> TabularConfig:
    """The settings that the flags give; the study decides what is meant where they are silent."""
    data: str = values.data
    study = values["study"].value or ("own" if data.startswith(("csv:", "parquet:")) else "semi")
    fixed: dict[str, Any] = {"study": study}
    for name, default in DEFAULTS.get(study, {}).items():
        if not values[name].present:
            fixed[name] = default
    for name in ("labelled", "splits"):
        if name not in fixed:
            texts = list(map(str, values[name].value or []))
            try:
                fixed[name] = tuple(int(text) for text in texts)
            except ValueError as error:
                raise InputError(f"--{name}={','.join(texts)}: give whole numbers separated by commas") from error
    if values["methods"].value == ["all"]:
        whole = tuple(name for name in METHODS if not name.endswith(_UNLABELLED))
        fixed["methods"] = {"own": OWN_METHODS, "supervised": whole}.get(study, METHODS)
    return from_flags(TabularConfig, values, **fixed)


def define_flags() -> None:
    """Define the binary's flags."""
    d = TabularConfig()
    flags.DEFINE_enum(
        "study", None, STUDIES, "semi: few labelled rows, every method; supervised: all rows labelled; robustness: "
        "wrong and missing cells; embeddings: what they know; own: your rows. By default own for a file, else semi.",
    )  # fmt: skip
    flags.DEFINE_string("data", d.data, "embedded:profiles (?seed=1&rows=5000), csv:FILE or parquet:FILE.")
    flags.DEFINE_string(
        "target", d.target, "Column to predict. With your own rows those where it is empty are the unlabelled ones."
    )
    flags.DEFINE_list("categorical", [], "Columns of categories, whatever they look like: codes of many values.")
    flags.DEFINE_list("drop", [], "Columns to leave out.")
    flags.DEFINE_string("id_column", d.id_column, "Column that names the rows in predictions.csv; it is no input.")
    flags.DEFINE_string(
        "split_column", d.split_column, "Column that says train, or 0, of the rows to use; others are left out."
    )
    flags.DEFINE_list(
        "labelled", list(map(str, d.labelled)), "Labelled rows to learn from. With your own rows one number: so many "
        "of those with a target are drawn, a fifth is kept for the test; by default all are used, and cross-validated.",
    )  # fmt: skip
    flags.DEFINE_list("methods", list(d.methods), f"Methods, or all: {', '.join(METHODS)}.")
    flags.DEFINE_list("objectives", list(d.objectives), "Pre-trainings of the studies: mlm, rtd.")
    flags.DEFINE_integer("embedding_size", d.embedding_size, "Numbers of a category's embedding.")
    flags.DEFINE_integer("num_layers", d.num_layers, "Layers of the Transformer; the paper has 6.")
    flags.DEFINE_integer("num_heads", d.num_heads, "Heads of the attention.")
    flags.DEFINE_float("dropout", d.dropout, "Rate while training.")
    flags.DEFINE_enum("norm", d.norm, ("post", "pre"), "Layer norm after each sublayer, as in the paper, or before.")
    flags.DEFINE_integer(
        "bins", d.bins, "More than 0: the Transformer sees the numbers too, each by how full these bins of equally "
        "many rows are; so it does in tables without categories.",
    )  # fmt: skip
    flags.DEFINE_integer(
        "max_hidden", d.max_hidden, "At most so many units in the MLP's hidden layers, which are 4 and 2 times its "
        "input: of 80 and more category columns they take gigabytes.",
    )  # fmt: skip
    flags.DEFINE_integer("pretraining_steps", d.pretraining_steps, "Steps of pre-training.")
    flags.DEFINE_float(
        "pretraining_rate", d.pretraining_rate, "Its highest learning rate, by default 1e-3 for mlm, 3e-3 for rtd."
    )
    flags.DEFINE_integer("steps", d.steps, "Steps of training with labels at most; 2000 where all rows have one.")
    flags.DEFINE_integer("batch_size", d.batch_size, "Rows of a step, all if there are fewer.")
    flags.DEFINE_integer(
        "tuning_rounds", d.tuning_rounds, "Draws of settings that every method tries beside its defaults; validation "
        "rows choose. The paper took 20.",
    )  # fmt: skip
    flags.DEFINE_bool(
        "small_validation", d.small_validation, "As many validation rows as labelled ones, what a user would have; "
        "otherwise 15 % of all rows, as in the paper.",
    )  # fmt: skip
    flags.DEFINE_list("splits", list(map(str, d.splits)), "Which of the five splits of cross-validation: 0,1,2,3,4.")
    flags.DEFINE_list("seeds", list(map(str, d.seeds)), "Seeds: each draws labelled rows and first weights anew.")
    flags.DEFINE_integer("side_by_side", d.side_by_side, "Runs trained in one program; fewer take less memory.")
    flags.DEFINE_string("model", d.model, "File of a trained model: predict the rows of --data with it, nothing else.")
    flags.DEFINE_string("workdir", "runs/tabular", "Folder for results.json, report.html, figures and the model.")
