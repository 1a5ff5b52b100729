"""Settings and flags of `experiments.amalgamation`."""

from dataclasses import dataclass
from pathlib import Path

from absl import flags

from experiments.common import from_flags
from jlabel import InputError
from jlabel.training import check_positive

__all__ = ["EMBEDDED", "ERRORS", "HARD", "LEARNED", "AmalgamationConfig", "config_of", "define_flags"]

EMBEDDED = "embedded:coupled_labels"
ERRORS = ("none", "missing", "spurious")
STUDIES = ("main", "shared", "teachers")
HARD = " hard"  # after a method's name: its student learns from its targets made 0 or 1
LEARNED = (
    "BL", "TC", "TC hard", "CFL", "FKA", "AKA", "ANT", "ANT label-free trust", "ANT earned trust",
    "ANT earned trust hard", "oracle",
)  # fmt: skip
OWN_METHODS = ("ant", "tc", "vote")
TRUSTS = ("earned", "positive")
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the study of shared labels
COUNTS = (2, 3, 4, 5)  # of the study of the number of teachers


@dataclass(frozen=True)
class AmalgamationConfig:
    """Settings of a run; each is a flag of the same name."""

    experiment: str = "amalgamation"
    study: str = "main"
    data: str = EMBEDDED
    shared: float | None = None
    num_teachers: int | None = None
    teacher_error: tuple[str, ...] = ()
    teacher_rows: str = "own"
    labels: tuple[str, ...] = ()
    methods: tuple[str, ...] = LEARNED
    over: str = "steps"
    select: str = "positive"
    path_floor: float = 0.0
    other_logits: str = "initial"
    rounds: int = 1
    keep_unrevised: bool = False
    labelled_rows: int = 50
    teacher_epochs: int = 60
    student_epochs: int | None = None
    batch_size: tuple[int, ...] = ()
    learning_rate: tuple[float, ...] = (1e-3,)
    hidden: tuple[int, ...] = ()
    side_by_side: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    teachers: tuple[str, ...] = ()
    teacher_probs: tuple[str, ...] = ()
    teacher_labels: tuple[str, ...] = ()
    id_column: str = ""
    labelled: str = ""
    method: str = "ant"
    trust: str = "earned"
    hard_targets: bool = False
    student: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        choices = {
            "study": STUDIES, "teacher_rows": ("own", "all"), "over": ("steps", "final"),
            "select": ("positive", "always"), "other_logits": ("initial", "final"), "method": OWN_METHODS,
            "trust": TRUSTS,
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"--{name}={getattr(self, name)}: choose one of {', '.join(known)}")
        for name, allowed in {"teacher_error": ERRORS, "methods": LEARNED}.items():
            values: tuple[str, ...] = getattr(self, name)
            for value in values:
                if value not in allowed:
                    raise InputError(f"--{name}={value}: choose from {'; '.join(allowed)}")
            if len(set(values)) < len(values):
                raise InputError(f"--{name}={','.join(values)}: give each once")
        if "ANT" not in self.methods:
            raise InputError(
                f"--methods={','.join(self.methods)}: ANT must be among them, the others are compared to it"
            )
        for name in ("rounds", "labelled_rows", "teacher_epochs", "student_epochs", "side_by_side"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name), whole=True)
        for name in ("batch_size", "hidden", "learning_rate"):
            for value in getattr(self, name):
                check_positive(name, value, whole=name != "learning_rate")
        if not self.learning_rate:
            raise InputError("--learning_rate is empty: give one or more numbers")
        if self.own and max(len(self.batch_size), len(self.learning_rate), len(self.hidden)) > 1:
            raise InputError("with your own teachers --batch_size, --learning_rate and --hidden are one number each")
        if self.shared is not None and not 0 <= self.shared <= 1:
            raise InputError(f"--shared={self.shared:g}: give a share of the labels from 0 to 1")
        if not 0 <= self.path_floor < 1:
            raise InputError(f"--path_floor={self.path_floor:g}: give a number from 0 to below 1")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"--seeds={','.join(map(str, self.seeds))}: give whole numbers from 0 on, each once")
        if len(self.hidden) == 1 and not self.own:
            raise InputError(f"--hidden={self.hidden[0]}: give the width of each teacher and, last, of the student")
        if self.num_teachers is not None and self.num_teachers < 2:
            raise InputError(f"--num_teachers={self.num_teachers}: a study needs two or more")
        self._check_own()

    def _check_own(self) -> None:
        """Flags of a user's teachers and student."""
        if self.student and (self.teachers or self.teacher_probs):
            raise InputError("--student predicts with a trained student: leave out --teachers and --teacher_probs")
        if self.teacher_labels and not self.teachers:
            raise InputError(
                f"--teacher_labels={','.join(self.teacher_labels)} needs --teachers, whose labels they name"
            )
        if self.labelled and not (self.teachers or self.teacher_probs):
            raise InputError(f"--labelled={self.labelled} needs --teachers or --teacher_probs: a study makes its own")
        if (self.own or self.student) and self.data == EMBEDDED:
            raise InputError(f"--data={self.data}: give your rows, as in --data=csv:rows.csv")

    @property
    def own(self) -> bool:
        """Whether a user's own teachers are amalgamated."""
        return bool(self.teachers or self.teacher_probs)

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes of a study."""
        return self.batch_size or (64,)

    @property
    def epochs(self) -> int:
        """Epochs of a study's students."""
        return self.student_epochs or 100

    @property
    def stem(self) -> str:
        """The data file's name without folder and ending."""
        return "coupled_labels" if self.data.startswith("embedded:") else Path(self.data.partition(":")[2]).stem

    @property
    def errors(self) -> tuple[str, ...]:
        """What is done to the teachers' labels: all three in the main study of drawn rows, else nothing."""
        drawn = self.study == "main" and self.data.startswith("embedded:")
        return self.teacher_error or (ERRORS if drawn else ("none",))


def config_of(values: flags.FlagValues) -> AmalgamationConfig:
    """The settings that the flags give."""
    numbers: dict[str, tuple[int | float, ...]] = {}
    for name, kind in (("batch_size", int), ("hidden", int), ("learning_rate", float)):
        texts: list[str] = values[name].value or []
        try:
            numbers[name] = tuple(kind(text) for text in texts)
        except ValueError as error:
            what = "whole numbers" if kind is int else "numbers"
            raise InputError(f"--{name}={','.join(texts)}: give {what} separated by commas") from error
    return from_flags(AmalgamationConfig, values, **numbers)


def define_flags() -> None:
    """Define the binary's flags."""
    d = AmalgamationConfig()
    flags.DEFINE_enum(
        "study", d.study, STUDIES, "main: every method; shared: the same from no to all labels shared by two teachers; "
        "teachers: two to five teachers.",
    )  # fmt: skip
    flags.DEFINE_string(
        "data", d.data, "embedded:coupled_labels, npz:FILE with X, Y (0 and 1) and label_names, or csv:FILE; with your "
        "own teachers the unlabelled rows.",
    )  # fmt: skip
    flags.DEFINE_string("workdir", "runs/amalgamation", "Folder for results.json, report.html, figures and students.")
    flags.DEFINE_list("seeds", list(map(str, d.seeds)), "Seeds: each draws rows and label sets, or splits them, anew.")
    flags.DEFINE_list("labels", [], "Columns of csv: data that are labels, of 0 and 1; all others are features.")
    flags.DEFINE_float(
        "shared", d.shared, "Share of the labels that several teachers know: label sets are drawn. By default the "
        "paper's sets for its data, elsewhere .25.",
    )  # fmt: skip
    flags.DEFINE_integer("num_teachers", d.num_teachers, "Teachers, likewise; by default the paper's, elsewhere 2.")
    flags.DEFINE_list(
        "teacher_error", [], "One or more of none, missing (40 % of the positives of each shared label lost in one of "
        "its teachers' rows), spurious (20 % of the negatives turned there); by default all in the main study of drawn "
        "rows, elsewhere none.",
    )  # fmt: skip
    flags.DEFINE_enum(
        "teacher_rows", d.teacher_rows, ("own", "all"), "Whether each teacher learns from its own equal share of the "
        "training rows, or all from all.",
    )  # fmt: skip
    flags.DEFINE_list(
        "methods", list(d.methods), "Trained methods, ANT among them. Rows without training are always there.",
    )  # fmt: skip
    flags.DEFINE_enum("over", d.over, ("steps", "final"), "Loss over every step of the chain, or over final logits.")
    flags.DEFINE_enum(
        "select", d.select, ("positive", "always"), "A label is picked only where likely, or at every step."
    )
    flags.DEFINE_float("path_floor", d.path_floor, "Nothing more is picked below this product of probabilities.")
    flags.DEFINE_enum(
        "other_logits", d.other_logits, ("initial", "final"), "What a revising teacher starts the other labels from."
    )
    flags.DEFINE_integer("rounds", d.rounds, "Rounds of transfer.")
    flags.DEFINE_bool("keep_unrevised", d.keep_unrevised, "A revised teacher's first prediction counts as well.")
    flags.DEFINE_integer("labelled_rows", d.labelled_rows, "Transfer rows whose labels earned trust may see.")
    flags.DEFINE_integer("teacher_epochs", d.teacher_epochs, "Epochs of a teacher; the best on held-out rows is kept.")
    flags.DEFINE_integer(
        "student_epochs", d.student_epochs, "Epochs of a student; the best on held-out rows is kept. By default 100, "
        "with your own teachers by the number of rows.",
    )  # fmt: skip
    flags.DEFINE_list(
        "batch_size", [], "Rows in a training step, by default 64, with your own teachers by the number of rows; of "
        "several each network of a study takes the one that does best on held-out rows.",
    )  # fmt: skip
    flags.DEFINE_list(
        "learning_rate", list(map(str, d.learning_rate)), "Adam's; of several each network takes the best one likewise."
    )
    flags.DEFINE_list(
        "hidden", [], "Width of each teacher and, last, of the student; by default the paper's for its data sets, "
        "elsewhere 32. With your own teachers the student's alone.",
    )  # fmt: skip
    flags.DEFINE_integer("side_by_side", d.side_by_side, "Networks trained in one program, if they are alike.")
    flags.DEFINE_list(
        "teachers", [], "Your teachers, fitted scikit-learn models saved by joblib, NAME=FILE or FILE. LOADING A "
        "PICKLE RUNS ITS CODE: give only files you trust, or --teacher_probs.",
    )  # fmt: skip
    flags.DEFINE_list(
        "teacher_probs", [], "Your teachers' predictions for the rows of --data, the safe road: NAME=FILE or FILE, a "
        "CSV with a column of probabilities for each label, in the same order of rows or with --id_column.",
    )  # fmt: skip
    flags.DEFINE_list(
        "teacher_labels", [], "Labels of --teachers, NAME:x|y|z each; by default those the model itself names."
    )
    flags.DEFINE_string("id_column", d.id_column, "Column that names the rows, in --data and in --teacher_probs.")
    flags.DEFINE_string(
        "labelled", d.labelled, "CSV of a few rows of --data whose labels are known: the column of --id_column, or "
        "row with numbers from 0, and columns of labels, 0, 1 or empty. Teachers then earn their trust on them.",
    )  # fmt: skip
    flags.DEFINE_enum("method", d.method, OWN_METHODS, "What your student learns: ANT, mean logits (TC), or the vote.")
    flags.DEFINE_enum(
        "trust", d.trust, TRUSTS, "Of method ant, who is right where your teachers disagree: who has earned trust, by "
        "agreement with other labels and by --labelled rows, or, as published, who says yes.",
    )  # fmt: skip
    flags.DEFINE_bool(
        "hard_targets", d.hard_targets, "Your student learns from targets made 0 or 1, for whole label sets rather "
        "than probabilities. In a study, the methods that end in hard.",
    )  # fmt: skip
    flags.DEFINE_string(
        "student", d.student, "Folder of a trained student: predict the rows of --data with it, nothing else."
    )
