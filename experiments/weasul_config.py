"""Settings and flags of `experiments.active_weasul`."""

from dataclasses import dataclass
from typing import Any, get_args

from absl import flags

from experiments.weasul_data import EMBEDDED, parse_cliques
from jlabel import InputError
from jlabel.training import check_positive
from jlabel.weak_supervision.methods import Method
from jlabel.weak_supervision.queries import Strategy

__all__ = ["METHODS", "STRATEGIES", "WeasulConfig", "define_flags"]

METHODS: tuple[str, ...] = get_args(Method)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class WeasulConfig:
    """Settings of a run; each is a flag of the same name."""

    experiment: str = "active_weasul"
    data: str = EMBEDDED
    strategy: Strategy = "maxkl"
    budget: int = 30
    method: str = "matrix_completion"
    constrain: bool = True
    penalty: str = ""
    balance: float | None = None
    cliques: tuple[str, ...] = ()
    batch: int = 1
    tolerance: float = 0.01
    patience: int = 5
    seeds: tuple[int, ...] = tuple(range(10))
    end_models: bool = True
    rules: str = ""
    ask: bool = False
    answers: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or written."""
        for name, known in (("strategy", STRATEGIES), ("method", METHODS)):
            if getattr(self, name) not in known:
                raise InputError(f"--{name}={getattr(self, name)}: choose one of {', '.join(known)}")
        for name in ("budget", "batch", "patience"):
            check_positive(name, getattr(self, name), whole=True)
        check_positive("tolerance", self.tolerance)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"--seeds={','.join(map(str, self.seeds))}: give whole numbers from 0 on, each once")
        if self.penalty not in ("", "auto"):
            try:
                wrong = not 0 <= float(self.penalty) < float("inf")
            except ValueError:
                wrong = True
            if wrong:
                raise InputError(f"--penalty={self.penalty}: give a number of 0 or more, or auto")
        if self.balance is not None and not 0 < self.balance < 1:
            raise InputError(f"--balance={self.balance:g}: give P(y = 1), above 0 and below 1")
        parse_cliques(self.cliques)
        if self.is_own and not self.rules:
            raise InputError(f"--data={self.data} holds no votes: give --rules=my_rules.py, whose rules vote")
        if not self.is_own and (self.rules or self.ask or self.answers):
            raise InputError(f"--rules, --ask and --answers are for data of your own, csv:FILE, not for {self.data}")
        if self.is_own and not (self.ask or self.answers):
            raise InputError("give --ask to be asked in the terminal, --answers=FILE to replay answers, or both")

    @property
    def is_own(self) -> bool:
        """Whether the rows are a user's, to be asked about, and not a study with known labels."""
        return self.data.startswith("csv:")

    def options(self, cliques: tuple[tuple[int, ...], ...], *, constrain: bool | None = None) -> dict[str, Any]:
        """The label model's settings."""
        found: dict[str, Any] = {"balance": self.balance}
        if self.method != "factor_graph":
            found["cliques"] = parse_cliques(self.cliques) or cliques
        if self.method == "matrix_completion":
            found["constrain"] = self.constrain if constrain is None else constrain
            given = self.penalty or ("1" if self.data == EMBEDDED else "auto")
            found["penalty"] = given if given == "auto" else float(given)
        return found


def define_flags() -> None:
    """Define the binary's flags."""
    d = WeasulConfig()
    flags.DEFINE_string("data", d.data, f"{EMBEDDED}, npz:FILE with votes and labels, or csv:FILE, rows of your own.")
    flags.DEFINE_string("workdir", "runs/active_weasul", "Folder for config, answers, results, figures and report.")
    flags.DEFINE_list("seeds", list(map(str, d.seeds)), "Seeds of data (embedded), model starts and rows asked.")
    flags.DEFINE_enum("strategy", d.strategy, STRATEGIES, "How the next row is chosen.")
    flags.DEFINE_integer("budget", d.budget, "Answers to get.")
    flags.DEFINE_enum("method", d.method, METHODS, "The label model.")
    flags.DEFINE_bool("constrain", d.constrain, "Matrix completion: keep tables probabilities; false is the paper.")
    flags.DEFINE_string(
        "penalty", d.penalty, "Matrix completion: weight of the answers, a number or auto; embedded: 1."
    )
    flags.DEFINE_float("balance", d.balance, "P(y = 1); by default uniform, or learned by latent_class.")
    flags.DEFINE_list("cliques", list(d.cliques), "Rules that depend on each other, by number from 0: 1-2,3-4-5.")
    flags.DEFINE_integer("batch", d.batch, "Answers to get before each refit.")
    flags.DEFINE_float("tolerance", d.tolerance, "An answer that moves less probability than this taught nothing.")
    flags.DEFINE_integer("patience", d.patience, "After so many of these in a row it is time to stop.")
    flags.DEFINE_bool("end_models", d.end_models, "Train end models on features as well.")
    flags.DEFINE_string("rules", d.rules, "For csv: a Python file whose rules vote on the rows.")
    flags.DEFINE_bool("ask", d.ask, "For csv: ask in the terminal; answers are saved at once in WORKDIR/answers.csv.")
    flags.DEFINE_string("answers", d.answers, "For csv: a file of answers to replay; with --ask it goes on from there.")
