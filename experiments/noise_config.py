"""Settings and flags of `experiments.confident_learning`."""

from dataclasses import dataclass
from typing import get_args

from absl import flags

from jlabel import InputError
from jlabel.confident_learning.count import Rule
from jlabel.confident_learning.find import Method
from jlabel.confident_learning.joint import Collision
from jlabel.confident_learning.rank import Score
from jlabel.training import check_positive

__all__ = ["FILTERS", "RULES", "SCORES", "STUDY_DATA", "NoiseConfig", "define_flags"]

STUDY_DATA = "embedded:noisy_digits"
RULES: tuple[Rule, ...] = get_args(Rule)
COLLISIONS: tuple[Collision, ...] = get_args(Collision)
FILTERS: tuple[Method, ...] = get_args(Method)
SCORES: tuple[Score, ...] = get_args(Score)


@dataclass(frozen=True)
class NoiseConfig:
    """Settings of a run; each is a flag of the same name."""

    data: str = STUDY_DATA
    split: str = "all"
    probs: str = ""
    classes: tuple[str, ...] = ()
    encoder: str = ""
    classifier: str = ""
    image_size: int | None = None
    rule: Rule = "calibrated"
    filters: tuple[Method, ...] = ()
    score: Score = "normalized_margin"
    collision: Collision = "confident"
    folds: int = 5
    groups: str = ""
    steps: int = 300
    batch_size: int = 256
    learning_rate: float = 0.01
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    replicates: int = 200
    gallery: int = 1000
    stream: bool | None = None
    chunk_rows: int | None = None
    skip_broken: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        for name, known in (("rule", RULES), ("collision", COLLISIONS), ("score", SCORES)):
            if getattr(self, name) not in known:
                raise InputError(f"--{name}={getattr(self, name)}: choose one of {', '.join(known)}")
        for name in self.filters:
            if name not in FILTERS:
                raise InputError(f"--filters={','.join(self.filters)}: {name!r} is none of {', '.join(FILTERS)}")
        for name in ("folds", "steps", "batch_size", "replicates", "chunk_rows"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name), whole=True)
        check_positive("learning_rate", self.learning_rate)
        if self.folds < 2:
            raise InputError(f"--folds={self.folds}: out-of-sample probabilities need 2 folds or more")
        if self.gallery < 0:
            raise InputError(f"--gallery={self.gallery}: give the number of rows to show, at least 0")
        if not self.seeds:
            raise InputError("--seeds is empty: give whole numbers separated by commas")
        if self.probs and (self.encoder or self.classifier):
            raise InputError("--probs holds the probabilities; leave out --encoder and --classifier, or --probs")
        if self.probs and self.groups:
            raise InputError("--groups is about folds, of which --probs needs none; leave out one of them")

    @property
    def is_study(self) -> bool:
        """Whether this is the study on planted errors, not the user's own data."""
        return self.data == STUDY_DATA and not (self.probs or self.encoder or self.classifier)


def define_flags() -> None:
    """Define the binary's flags."""
    d = NoiseConfig()
    flags.DEFINE_string(
        "data", d.data, "Data, as jlabel.data.open takes it: parquet:GLOB, folder:DIR, csv:FILE, npz:FILE, ... "
        f"{STUDY_DATA} alone runs the study on planted errors.",
    )  # fmt: skip
    flags.DEFINE_string("workdir", "runs/confident_learning", "Folder for issues.csv, report.html and the rest.")
    flags.DEFINE_string(
        "apply", "", "A reviewed issues.csv: write the corrected data of the run in --workdir, and who, what and why."
    )
    flags.DEFINE_string("split", d.split, "Rows of the data: train, val, test or all.")
    flags.DEFINE_string(
        "probs", d.probs, "Out-of-sample probabilities: npz:FILE (key probs, or npz:FILE?probs=KEY), npy:FILE, "
        "csv:FILE or parquet:GLOB (a column probs, or one per label). In the order of the rows, or joined by name "
        "where there is a column name.",
    )  # fmt: skip
    flags.DEFINE_list("classes", [], "The labels of the columns of --probs, in order, where the file does not say.")
    flags.DEFINE_string(
        "encoder", d.encoder, "Without --probs: what turns rows into features. Pictures: efficientnet_lite0, 1 or 2; "
        "texts: minilm or bert:DIR; identity: the pixels of tiny pictures. Tables of numbers need none.",
    )  # fmt: skip
    flags.DEFINE_string(
        "classifier", d.classifier, "Without --probs: what is cross-validated on the features: probe (linear, our "
        "own; the default), logistic, forest, boosting, neighbors, or any scikit-learn class by its dotted name. All "
        "but probe take texts without --encoder too, by their words.",
    )  # fmt: skip
    flags.DEFINE_integer("image_size", d.image_size, "Side of the pictures in pixels; by default the encoder's own.")
    flags.DEFINE_enum(
        "rule", d.rule, RULES, "How wrong labels are counted. calibrated: the confident joint scaled to the number of "
        "rows with each label (Eq. 2 of the paper); uncalibrated: the joint's share off the diagonal, of all rows; "
        "off_diagonal: the rows off the diagonal alone.",
    )  # fmt: skip
    flags.DEFINE_list(
        "filters", [], "What flags rows; a row is flagged where any of several does. margin (the default): the lowest "
        "scores, as many as --rule counts; noise_rate: the worst of each pair of labels; class: the worst of each "
        "label; both: what these two agree on; joint: rows confident of another label; disagreement: rows whose "
        "likeliest label is another. The study runs all.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "score", d.score, SCORES, "What ranks rows. normalized_margin: probability of the given label less that of the "
        "best other; self_confidence: probability of the given label; confidence_weighted_entropy: that, and how "
        "undecided the row is.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "collision", d.collision, COLLISIONS, "What a row confident of several labels counts for. confident: the "
        "likeliest of these; all: the likeliest of all labels.",
    )  # fmt: skip
    flags.DEFINE_integer("folds", d.folds, "Without --probs: parts of the rows, each predicted by a model of the rest.")
    flags.DEFINE_string(
        "groups", d.groups, "Without --probs: column whose equal values (copies, one patient's visits) share a fold; "
        "it is no feature.",
    )  # fmt: skip
    flags.DEFINE_integer("steps", d.steps, "Training steps of the probe.")
    flags.DEFINE_integer("batch_size", d.batch_size, "Rows of a training step of the probe.")
    flags.DEFINE_float("learning_rate", d.learning_rate, "Learning rate of the probe.")
    flags.DEFINE_list(
        "seeds", [str(seed) for seed in d.seeds], "Study: seeds of the noise, a run for each. Else the first one "
        "decides the folds, the probe and the interval.",
    )  # fmt: skip
    flags.DEFINE_integer("replicates", d.replicates, "Times the rows are drawn anew for the interval of the count.")
    flags.DEFINE_integer("gallery", d.gallery, "Most rows shown in report.html; 0 for none.")
    flags.DEFINE_bool(
        "stream", d.stream, "Read probabilities and labels chunk by chunk from parquet: and npy: files, and go on "
        "where a killed run stopped. By default from a million rows on.",
    )  # fmt: skip
    flags.DEFINE_integer("chunk_rows", d.chunk_rows, "Rows of a chunk with --stream; by default about 32 MiB of them.")
    flags.DEFINE_bool("skip_broken", d.skip_broken, "Leave out rows that cannot be read; they are counted and listed.")
