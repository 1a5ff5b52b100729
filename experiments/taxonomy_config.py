"""Settings and flags of `experiments.taxonomy`."""

from dataclasses import dataclass
from typing import Any

from absl import flags

from jlabel import InputError
from jlabel.taxonomy import METHODS, Method
from jlabel.training import check_positive

__all__ = ["MERGES", "TaxonomyConfig", "define_flags"]

MERGES = ("clique", "pair")


@dataclass(frozen=True)
class TaxonomyConfig:
    """Settings of a run; each is a flag of the same name."""

    experiment: str = "taxonomy"
    domains: tuple[str, ...] = ()
    cut: str = ""
    probs: str = ""
    rebuild: str = ""
    method: Method = "hypothesis"
    threshold: float = 0.2
    density: float = 0.6
    max_relations: int = 5
    allow_none: bool = True
    soft: bool = False
    merge: str = "clique"
    forbid: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    drop_doubtful: bool = False
    reference: str = ""
    shift: float = 1.0
    class_size: float = 2.0
    rows_per_concept: int = 40
    noise: float = 0.9
    encoder: str = ""
    image_size: int | None = None
    per_class: int | None = None
    hidden: int = 64
    steps: int = 400
    batch_size: int = 128
    learning_rate: float = 0.003
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        for name, known in (("method", METHODS), ("merge", MERGES)):
            if getattr(self, name) not in known:
                raise InputError(f"--{name}={getattr(self, name)}: choose one of {', '.join(known)}")
        for name in ("threshold", "density"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"--{name}={getattr(self, name):g}: give a number above 0, at most 1")
        for name in ("max_relations", "rows_per_concept", "hidden", "steps", "batch_size", "image_size"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name), whole=True)
        for name in ("class_size", "noise", "learning_rate"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.shift < float("inf"):
            raise InputError(f"--shift={self.shift:g}: give a number of 0 or more")
        given = [name for name in ("domains", "cut", "probs", "rebuild") if getattr(self, name)]
        if len(given) > 1:
            raise InputError(f"--{given[0]} and --{given[1]} exclude each other: give one of them")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds, default=0) < 0:
            raise InputError(f"--seeds={','.join(map(str, self.seeds))}: give whole numbers from 0 on, each once")
        if self.is_study and (self.forbid or self.force or self.reference):
            raise InputError("--forbid, --force and --reference are for --domains, --probs and --rebuild")

    @property
    def is_study(self) -> bool:
        """Whether the truth is known: the generator's, or that of a dataset cut in two."""
        return not (self.domains or self.probs or self.rebuild)

    @property
    def data(self) -> str:
        """What the relations are found in, for results.json."""
        return ",".join(self.domains) or self.cut or self.probs or self.rebuild or "embedded:concept_domains"

    @property
    def runs(self) -> tuple[int, ...]:
        """The seeds: ten where the truth is known, five of a user's domains, one where the probabilities are given."""
        if self.probs or self.rebuild:
            return self.seeds[:1] or (0,)
        return self.seeds or tuple(range(5 if self.domains else 10))

    @property
    def rule(self) -> dict[str, Any]:
        """The options of `jlabel.taxonomy.find_relations`."""
        return {"method": self.method, **self.rule_options}

    @property
    def rule_options(self) -> dict[str, Any]:
        """The same without the method."""
        return {
            "threshold": self.threshold,
            "density": self.density,
            "max_relations": self.max_relations,
            "allow_none": self.allow_none,
        }


def define_flags() -> None:
    """Define the binary's flags."""
    d = TaxonomyConfig()
    flags.DEFINE_list(
        "domains", [], "Two or more datasets, folder:DIR, parquet:GLOB, npz:FILE or csv:FILE, separated by commas; "
        "NAME=SPEC gives one a name. Without: the study on generated domains whose true relations are known.",
    )  # fmt: skip
    flags.DEFINE_string(
        "cut", d.cut, "One dataset of pictures, cut into two domains of overlapping groups of its classes: the true "
        "relations are known. One domain is greyed and given noise, the other rotated and blurred.",
    )  # fmt: skip
    flags.DEFINE_string(
        "probs", d.probs, "Instead of training: a folder with a file ROWS/MODEL.csv or .npz for each ordered pair of "
        "domains, what MODEL's network says of rows of ROWS. CSV: a column label, the row's class in ROWS, and a "
        "column of probabilities for each class of MODEL; npz: label, probs [rows, classes] and classes (names). Use "
        "rows that no model trained on.",
    )  # fmt: skip
    flags.DEFINE_string(
        "from", d.rebuild, "A taxonomy.json of an earlier run: build it anew from the relations.csv beside it, which "
        "may be edited, with --forbid and --force. Its own universal classes are not read: edit these last.",
    )  # fmt: skip
    flags.DEFINE_multi_string("forbid", [], "An edge to leave out, 'DOMAIN:CLASS -> DOMAIN:CLASS'; may be repeated.")
    flags.DEFINE_multi_string("force", [], "An edge to put in with weight 1, written the same way; may be repeated.")
    flags.DEFINE_bool("drop_doubtful", d.drop_doubtful, "Leave out edges that rows do not clearly show.")
    flags.DEFINE_string("workdir", "runs/taxonomy", "Folder for taxonomy.json, relations.csv, report.html, ...")
    flags.DEFINE_list("seeds", [], "Seeds of the runs, e.g. 0,1,2; by default ten, with --domains five.")
    flags.DEFINE_enum("method", d.method, METHODS, "How relations are chosen from a row of cross-predictions.")
    flags.DEFINE_float("threshold", d.threshold, "Method threshold: the least share of rows.")
    flags.DEFINE_float("density", d.density, "Method density: the mass that the kept entries hold.")
    flags.DEFINE_integer("max_relations", d.max_relations, "Method hypothesis: the most relations of a class.")
    flags.DEFINE_bool("allow_none", d.allow_none, "Method hypothesis: whether a class may have no relation.")
    flags.DEFINE_bool("soft", d.soft, "Average probabilities instead of counting the most probable classes.")
    flags.DEFINE_enum("merge", d.merge, MERGES, "Universal classes from cliques of mutual edges, or from each pair.")
    flags.DEFINE_string(
        "reference", d.reference, "A CSV of relations nobody disputes (domain_a, class_a, domain_b, class_b, kind: "
        "same or within), to score recall on; reference_relations.csv is ours, for caltech97_64, tiny_imagenet_64 and "
        "cifar10_32.",
    )  # fmt: skip
    flags.DEFINE_float("shift", d.shift, "How far domains differ beyond their classes: 1 as the study says, 0 not.")
    flags.DEFINE_float("class_size", d.class_size, "Generated domains: mean number of concepts in a class.")
    flags.DEFINE_integer("rows_per_concept", d.rows_per_concept, "Generated domains: rows of a concept in each part.")
    flags.DEFINE_float("noise", d.noise, "Generated domains: standard deviation of the noise of a row.")
    flags.DEFINE_string(
        "encoder", d.encoder, "Frozen encoder of pictures, efficientnet_lite0 (the default), 1 or 2, or identity for "
        "pixels; of texts minilm (the default) or bert:DIR.",
    )  # fmt: skip
    flags.DEFINE_integer("image_size", d.image_size, "Side of the pictures in pixels; by default the encoder's own.")
    flags.DEFINE_integer(
        "per_class", d.per_class, "Training rows kept of each class, half as many validation rows; by default all."
    )
    flags.DEFINE_integer("hidden", d.hidden, "Units of each domain's network.")
    flags.DEFINE_integer("steps", d.steps, "Training steps of each domain's network.")
    flags.DEFINE_integer("batch_size", d.batch_size, "Rows of a training step.")
    flags.DEFINE_float("learning_rate", d.learning_rate, "Learning rate of each domain's network.")
