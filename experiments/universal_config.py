"""Settings and flags of `experiments.universal_model`."""

from dataclasses import dataclass
from typing import Any

from absl import flags

from jlabel import InputError
from jlabel.taxonomy import METHODS
from jlabel.taxonomy.baselines import CONVERSIONS
from jlabel.taxonomy.models import BALANCES
from jlabel.taxonomy.network import HEADS
from jlabel.training import check_positive

__all__ = ["RULES", "SINGLE_HEADS", "UniversalConfig", "define_flags"]

RULES = ("auto", *METHODS)
SINGLE_HEADS = tuple(kind for kind in HEADS if kind != "linear")
EVALUATIONS = 20  # of a run; the best one is kept
SIZES = (1.2, 2.0)  # class sizes of the study on generated domains, each a table


@dataclass(frozen=True)
class UniversalConfig:
    """Settings of a run; each is a flag of the same name."""

    experiment: str = "universal_model"
    domains: tuple[str, ...] = ()
    taxonomy: str = ""
    method: str = "auto"
    threshold: float = 0.2
    density: float = 0.6
    max_relations: int = 5
    soft: bool = False
    merge: str = "clique"
    convert: str = "membership"
    balance: str = "proportional"
    head: str = "mlp"
    single_head: str = "mlp"
    hidden: int = 64
    shift: float = 0.3
    class_size: float | None = None
    rows_per_concept: int = 4
    noise: float = 1.2
    encoder: str = "efficientnet_lite0"
    image_size: int | None = None
    per_class: int | None = None
    steps: int = 600
    batch_size: int = 32
    learning_rate: float | None = None
    weight_decay: float | None = None
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        choices = {
            "method": RULES, "merge": ("clique", "pair"), "convert": CONVERSIONS, "balance": BALANCES,
            "head": ("mlp", "linear"), "single_head": SINGLE_HEADS,
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"--{name}={getattr(self, name)}: choose one of {', '.join(known)}")
        for name in ("threshold", "density"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"--{name}={getattr(self, name):g}: give a number above 0, at most 1")
        for name in ("max_relations", "hidden", "rows_per_concept", "steps", "batch_size", "image_size"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name), whole=True)
        for name in ("class_size", "noise", "learning_rate"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if self.weight_decay is not None and not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"--weight_decay={self.weight_decay:g}: give a number of 0 or more")
        if not 0 <= self.shift < float("inf"):
            raise InputError(f"--shift={self.shift:g}: give a number of 0 or more")
        if self.steps % EVALUATIONS:
            raise InputError(f"--steps={self.steps}: give a multiple of {EVALUATIONS}, the evaluations of a run")
        if self.taxonomy and not self.domains:
            raise InputError(f"--taxonomy={self.taxonomy} needs --domains, the datasets it was made for")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds, default=0) < 0:
            raise InputError(f"--seeds={','.join(map(str, self.seeds))}: give whole numbers from 0 on, each once")

    @property
    def data(self) -> str:
        """The datasets, for results.json."""
        return ",".join(self.domains) or "embedded:concept_domains"

    @property
    def runs(self) -> tuple[int, ...]:
        """The seeds: ten of the generator, five of a user's domains."""
        return self.seeds or tuple(range(5 if self.domains else 10))

    @property
    def sizes(self) -> tuple[float, ...]:
        """Class sizes of generated domains."""
        return SIZES if self.class_size is None else (self.class_size,)

    def rule(self, method: str) -> dict[str, Any]:
        """Options of `find_relations` for a method."""
        own = {"threshold": "threshold", "density": "density", "hypothesis": "max_relations"}.get(method)
        return {"method": method, **({own: getattr(self, own)} if own else {})}


def define_flags() -> None:
    """Define the binary's flags."""
    d = UniversalConfig()
    flags.DEFINE_list(
        "domains", [], "Two or more datasets, folder:DIR, parquet:GLOB, npz:FILE or csv:FILE, separated by commas; "
        "NAME=SPEC gives one a name. Without: the study on generated domains whose true relations are known.",
    )  # fmt: skip
    flags.DEFINE_string(
        "taxonomy", d.taxonomy, "A taxonomy.json of experiments.taxonomy, perhaps edited: train the one model on it."
    )
    flags.DEFINE_string(
        "workdir", "runs/universal_model", "Folder for the model, results.json, report.html and figures."
    )
    flags.DEFINE_list("seeds", [], "Seeds of the runs, e.g. 0,1,2; by default ten, with --domains five.")
    flags.DEFINE_enum(
        "method", d.method, RULES, "Rule behind the model that is saved, without --taxonomy; auto: chosen by probes on "
        "validation rows. The tables have all of them.",
    )  # fmt: skip
    flags.DEFINE_float("threshold", d.threshold, "Method threshold: the least share of rows.")
    flags.DEFINE_float("density", d.density, "Method density: the mass that the kept entries hold.")
    flags.DEFINE_integer("max_relations", d.max_relations, "Method hypothesis: the most relations of a class.")
    flags.DEFINE_bool("soft", d.soft, "Average probabilities instead of counting the most probable classes.")
    flags.DEFINE_enum("merge", d.merge, ("clique", "pair"), "Universal classes from cliques of mutual edges, or pairs.")
    flags.DEFINE_enum(
        "convert", d.convert, CONVERSIONS, "From universal classes to a domain's own: membership, the exact marginal, "
        "or weight, as printed in the slides.",
    )  # fmt: skip
    flags.DEFINE_enum("balance", d.balance, BALANCES, "Draw every training row alike, or every domain alike.")
    flags.DEFINE_enum("head", d.head, ("mlp", "linear"), "Head on the features: two layers or one.")
    flags.DEFINE_enum(
        "single_head", d.single_head, SINGLE_HEADS, "Head of the single-domain models: the same two layers, or the six "
        "with dropout of the slides.",
    )  # fmt: skip
    flags.DEFINE_integer("hidden", d.hidden, "Units of a hidden layer.")
    flags.DEFINE_float("shift", d.shift, "Generated domains: how far they differ beyond their classes, 0 to 3.")
    flags.DEFINE_float(
        "class_size", d.class_size, "Generated domains: mean number of concepts in a class; by default 1.2 and 2, a "
        "table each.",
    )  # fmt: skip
    flags.DEFINE_integer("rows_per_concept", d.rows_per_concept, "Generated domains: rows of a concept in each part.")
    flags.DEFINE_float("noise", d.noise, "Generated domains: standard deviation of the noise of a row.")
    flags.DEFINE_string(
        "encoder", d.encoder, "Frozen encoder of pictures, efficientnet_lite0, 1 or 2, or identity for pixels; of "
        "texts minilm or bert:DIR.",
    )  # fmt: skip
    flags.DEFINE_integer("image_size", d.image_size, "Side of the pictures in pixels; by default the encoder's own.")
    flags.DEFINE_integer(
        "per_class", d.per_class, "Training rows kept of each class, half as many validation rows; by default all."
    )
    flags.DEFINE_integer("steps", d.steps, f"Training steps of a head, a multiple of {EVALUATIONS}.")
    flags.DEFINE_integer("batch_size", d.batch_size, "Rows of each domain in a training step, on average.")
    flags.DEFINE_float(
        "learning_rate", d.learning_rate, "AdamW's; by default chosen for each method on validation rows."
    )
    flags.DEFINE_float("weight_decay", d.weight_decay, "AdamW's; by default chosen for each method on validation rows.")
