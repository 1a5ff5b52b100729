"""Label models with `fit` and `predict_proba`, for people who come from Snorkel or scikit-learn."""

import warnings
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from jlabel.evaluation.checks import as_labels
from jlabel.weak_supervision.buckets import Buckets, as_buckets, merge_buckets
from jlabel.weak_supervision.checks import WeakSupervisionError, check_num_classes, check_votes
from jlabel.weak_supervision.choice import choose_model
from jlabel.weak_supervision.decode import predict_probs
from jlabel.weak_supervision.givens import check_answers
from jlabel.weak_supervision.groups import GroupModel, rule_accuracies
from jlabel.weak_supervision.identifiability import identifiability_report
from jlabel.weak_supervision.methods import check_method, fit_method
from jlabel.weak_supervision.scores import score_predictions
from jlabel.weak_supervision.summary import doubtful_rules

TieBreak = Literal["abstain", "random", "true-random"]

_TIE = 1e-5  # probabilities that differ by less are tied
_SNORKEL = (
    "n_epochs",
    "lr",
    "l2",
    "optimizer",
    "log_freq",
    "seed",
    "progress_bar",
    "mu_eps",
    "lr_scheduler",
    "prec_init",
)


class LabelModel(BaseEstimator):
    """Turns the votes of rules into class probabilities.

    Votes are integers `(N, M)`, -1 where a rule abstains. Whatever the method, a row's probabilities are numbers that
    sum to 1 and do not depend on the rows beside it, rows stay in their order, and every rule counts, however seldom
    it votes. What the votes cannot decide is said in a warning.

    Buckets (distinct rows of votes and their counts) are the only state of the data: `partial_fit` merges them chunk by
    chunk, with the same result to the last bit in any order. The model is then fitted when it is first used.

    Args:
        cardinality: C, number of classes.
        method: `"latent_class"`, `"matrix_completion"`, or for two classes `"factor_graph"`.
        random_state: Seed of the starts, and of ties broken by `"true-random"`.
        hyper: Settings of the method: `cliques`, `prior_strength`, `constrain`, `dependencies`, ...; see `fit_method`.

    Attributes:
        model_: `GroupModel` or `FactorGraph`, for `predict_probs`.
        buckets_: `Buckets` of all votes seen.
        classes_: `(C,)` 0 to C - 1.
        n_features_in_: M, number of rules.
        chosen_: Settings that were chosen on `L_dev`; there only if it was given.

    Example:
        >>> votes = np.array([[1, 1, -1], [1, 1, 1], [0, -1, 0], [0, 0, 0], [1, 0, 1]])
        >>> label_model = LabelModel(cardinality=2).fit(votes)
        >>> label_model.predict(votes), label_model.predict_proba(votes).shape
        (array([1, 1, 0, 0, 1]), (5, 2))
    """

    buckets_: Buckets
    _answers: tuple[np.ndarray, np.ndarray]

    def __init__(self, cardinality: int = 2, method: str = "latent_class", random_state: Any = 0, **hyper: Any):
        self.cardinality = cardinality
        self.method = method
        self.random_state = random_state
        self.hyper = hyper

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings by name, those of the method included."""
        return super().get_params(deep) | self.hyper

    def set_params(self, **params: Any) -> "LabelModel":
        """Changes settings; those of the method are checked at the next fit."""
        own = super().get_params(deep=False)
        for name, value in params.items():
            if name in own:
                setattr(self, name, value)
            else:
                self.hyper = {**self.hyper, name: value}
        return self

    def fit(
        self,
        L_train: Any,
        Y_dev: ArrayLike | None = None,
        class_balance: ArrayLike | None = None,
        expert_rows: ArrayLike | None = None,
        expert_labels: ArrayLike | None = None,
        L_dev: Any = None,
        **snorkel: Any,
    ) -> "LabelModel":
        """Fits the model to votes alone, or with what else is known.

        Args:
            L_train: `(N, M)` votes, -1 abstains; also a DataFrame, a sparse matrix of `vote + 1`, or `Buckets`.
            Y_dev: Classes of some rows, any number of them, -1 where unknown: their shares become the class balance.
            class_balance: `(C,)` class balance, goes before `Y_dev`. Without either the method's default holds:
                learned (`latent_class`) or uniform.
            expert_rows: Rows whose class is known. expert_labels: Their classes.
            L_dev: `(len(Y_dev), M)` votes of the rows of `Y_dev`: the balance (unless given) and the strength of the
                prior are chosen on these rows by `choose_model`, see `chosen_`.
            snorkel: Training settings of Snorkel's `fit`; they do nothing here, and a warning says so.

        Returns:
            Itself.

        Raises:
            WeakSupervisionError: Bad votes, labels, balance or settings.
        """
        self._forget()
        if snorkel:
            unknown = [name for name in snorkel if name not in _SNORKEL]
            if unknown:
                raise TypeError(f"fit() got an unexpected keyword argument {unknown[0]!r}")
            warnings.warn(
                f"{', '.join(snorkel)}: not needed, the fit ends when it is done (seeds: LabelModel(random_state=...))",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        if L_dev is not None and Y_dev is None:
            raise WeakSupervisionError("L_dev needs Y_dev, the classes of its rows")
        if class_balance is None and Y_dev is not None and L_dev is None:
            class_balance = self._shares(Y_dev)
        self.partial_fit(L_train, class_balance=class_balance, expert_rows=expert_rows, expert_labels=expert_labels)
        if L_dev is not None:
            self._choose(L_dev, Y_dev)
        self._fitted()
        return self

    def partial_fit(
        self,
        L: Any,
        class_balance: ArrayLike | None = None,
        expert_rows: ArrayLike | None = None,
        expert_labels: ArrayLike | None = None,
    ) -> "LabelModel":
        """Adds a chunk of votes to those seen; the model is fitted to all of them when it is used next.

        Args:
            L: `(n, M)` votes of further rows, or their `Buckets`.
            class_balance: `(C,)`, in place of the one given before.
            expert_rows: Rows of this chunk whose class is known. expert_labels: Their classes.

        Returns:
            Itself.

        Raises:
            WeakSupervisionError: As `fit`.
        """
        classes = check_num_classes(self.cardinality)
        buckets = as_buckets(L, num_classes=classes, keep_sparse=True)
        num_rows = len(buckets.counts if buckets.inverse is None else buckets.inverse)
        rows, labels = check_answers(expert_rows, expert_labels, num_rows=num_rows, num_classes=classes)
        places = rows if buckets.inverse is None else buckets.inverse[rows]
        answered = _row_keys(buckets.rows[places])
        if hasattr(self, "buckets_"):
            buckets = merge_buckets(self.buckets_, buckets)
            answered, labels = (np.concatenate(parts) for parts in zip(self._answers, (answered, labels), strict=True))
        # Answers are known by the votes of their row alone, sorted: the order of chunks must not matter.
        order = np.lexsort([labels, answered])
        self.buckets_, self._answers = buckets._replace(inverse=None), (answered[order], labels[order])
        if class_balance is not None:
            self._balance = class_balance
            getattr(self, "chosen_", {}).pop("balance", None)
        self.classes_, self.n_features_in_ = np.arange(classes), buckets.rows.shape[1]
        self._model = None
        return self

    @property
    def model_(self) -> Any:
        """The fitted model."""
        return self._fitted()

    def predict_proba(self, L: Any) -> np.ndarray:
        """Class probabilities of rows of votes.

        Args:
            L: `(N, M)` votes, in any form that `fit` takes (`Buckets`: one row a bucket).

        Returns:
            float64 `(N, C)`, rows sum to 1. A warning says how many rows stay undecided.

        Raises:
            WeakSupervisionError: Other rules than those of the fit.
        """
        probs = self._probs(L)
        undecided = int((self._best(probs).sum(1) > 1).sum())
        if undecided:
            warnings.warn(
                f"{undecided} of {len(probs)} rows are undecided: their best classes are equally likely. "
                "predict leaves them at -1 unless told otherwise; more rules, or answers of an expert, decide them",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        return probs

    def predict(
        self, L: Any, return_probs: bool = False, tie_break_policy: TieBreak = "abstain"
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The likeliest class of each row.

        Args:
            L: As for `predict_proba`.
            return_probs: Return the probabilities as well.
            tie_break_policy: Where classes tie: `"abstain"` says -1, `"random"` one of them that depends on the row's
                votes alone, `"true-random"` one by lot.

        Returns:
            int64 `(N,)`, and with `return_probs` float64 `(N, C)`.

        Raises:
            WeakSupervisionError: An unknown policy, or other rules than those of the fit.
        """
        probs = self._probs(L)
        labels = self._break_ties(L, probs, tie_break_policy)
        return (labels, probs) if return_probs else labels

    def score(
        self, L: Any, Y: ArrayLike, metrics: Sequence[str] = ("accuracy",), tie_break_policy: TieBreak = "abstain"
    ) -> dict[str, float]:
        """Scores predictions against true classes.

        As in Snorkel, rows without a prediction (and without a true class, -1) are left out, so that "accuracy" is
        that of the decided rows; "coverage" is their share, and a warning says how many there were.

        Args:
            L: As for `predict_proba`.
            Y: `(N,)` true classes.
            metrics: Of accuracy, balanced_accuracy, coverage, precision, recall, f1 (these three of class 1, for two
                classes), f1_micro, f1_macro, matthews_corrcoef, roc_auc, log_loss.
            tie_break_policy: As for `predict`.

        Returns:
            Metric to value.

        Raises:
            WeakSupervisionError: An unknown metric, no row to score, or labels that do not fit.
        """
        probs = self._probs(L)
        labels = self._break_ties(L, probs, tie_break_policy)
        return score_predictions(labels, probs, Y, [metrics] if isinstance(metrics, str) else list(metrics))

    def get_weights(self) -> np.ndarray:
        """How often each rule is right where it votes, as the model sees it: `P(vote_j = y | vote_j != -1)`.

        Returns:
            float64 `(M,)`; 0 for a rule that never votes.
        """
        model = self._fitted()
        if isinstance(model, GroupModel):
            return np.nan_to_num(rule_accuracies(model), nan=0.0)
        rows = check_votes(self.buckets_.rows)
        weights = self.buckets_.counts[:, None] * (rows >= 0)
        right = np.take_along_axis(predict_probs(model, rows), np.maximum(rows, 0), axis=1)
        return (weights * right).sum(0) / np.maximum(weights.sum(0), 1)

    def identifiability(self) -> dict[str, Any]:
        """Whether the votes determine the answer: `identifiability_report` of the model and all votes seen."""
        return identifiability_report(self._fitted(), self.buckets_)

    def _choose(self, votes: Any, labels: Any) -> None:
        given = getattr(self, "_balance", None)
        chosen = choose_model(
            self.buckets_, votes, labels, num_classes=self.cardinality, method=self.method,
            balances=None if given is None else {"given": given}, **self._given(), **self.hyper,
        )  # fmt: skip
        self.chosen_ = chosen.options

    def _given(self) -> dict[str, Any]:
        """Answers and key of a fit."""
        answered, labels = self._answers
        key = jax.random.key(check_random_state(self.random_state).randint(2**31 - 1))
        if not len(answered):
            return {"key": key}
        rows = np.searchsorted(_row_keys(self.buckets_.rows), answered)
        return {"expert_rows": rows, "expert_labels": labels, "key": key}

    def _forget(self) -> None:
        for name in ("buckets_", "_answers", "_balance", "_model", "chosen_"):
            self.__dict__.pop(name, None)

    def _shares(self, labels: ArrayLike) -> np.ndarray:
        truth = as_labels("Y_dev", labels, low=-1, high=check_num_classes(self.cardinality))
        counts = np.bincount(truth[truth >= 0], minlength=self.cardinality)
        if not counts.any():
            raise WeakSupervisionError("Y_dev holds no class: leave it out, or give class_balance")
        counts = np.maximum(counts, 1)  # a class that the labels lack may still occur
        return counts / counts.sum()

    def _fitted(self) -> Any:
        check_is_fitted(self, "buckets_", msg="this LabelModel has seen no votes: call fit or partial_fit first")
        if self._model is None:
            settings = {"balance": getattr(self, "_balance", None), **self.hyper, **getattr(self, "chosen_", {})}
            self._model = fit_method(
                check_method(self.method), self.buckets_, num_classes=self.cardinality, **self._given(), **settings
            )
            self._warn_once()
        return self._model

    def _warn_once(self) -> None:
        """Says what the fit does not: rules that tell nothing, and too few groups to determine anything."""
        if not isinstance(self._model, GroupModel):
            return
        found = doubtful_rules(self.buckets_)
        if found.dead:
            warnings.warn(f"rules {list(found.dead)} never vote: their weight is 0", UserWarning, stacklevel=4)
        idle = {*found.dead, *found.constant}
        groups = sum(not idle.issuperset(group) for group in self._model.groups)
        if 0 < groups < 3 and not len(self._answers[0]):
            warnings.warn(
                f"only {groups} independent group{'s' if groups > 1 else ''} of rules: the votes alone do not "
                "determine the probabilities; add rules, or give expert answers (see LabelModel.identifiability)",
                UserWarning, stacklevel=4,
            )  # fmt: skip

    def _probs(self, L: Any) -> np.ndarray:
        return predict_probs(self._fitted(), L)

    @staticmethod
    def _best(probs: np.ndarray) -> np.ndarray:
        return probs >= probs.max(1, keepdims=True) - _TIE

    def _break_ties(self, L: Any, probs: np.ndarray, policy: TieBreak) -> np.ndarray:
        best = self._best(probs)
        labels = probs.argmax(1).astype(np.int64)
        tied = np.flatnonzero(best.sum(1) > 1)
        if policy == "abstain":
            labels[tied] = -1
        elif policy == "random":
            rows = _columns(check_votes(L.rows if isinstance(L, Buckets) else L, keep_sparse=True)[tied])
            for place, row in zip(tied, rows, strict=True):
                among = np.flatnonzero(best[place])
                labels[place] = among[zlib.crc32(row.tobytes()) % len(among)]
        elif policy == "true-random":
            rng = check_random_state(self.random_state)
            for place in tied:
                labels[place] = rng.choice(np.flatnonzero(best[place]))
        else:
            raise WeakSupervisionError(f"tie_break_policy is {policy!r}; allowed: abstain, random, true-random")
        return labels


def _columns(rows: Any, rules: Sequence[int] | None = None) -> np.ndarray:
    chosen = rows if rules is None else rows[:, list(rules)]
    return np.ascontiguousarray(chosen.toarray() - np.int8(1) if sparse.issparse(chosen) else chosen)


def _row_keys(rows: Any) -> np.ndarray:
    """Rows as byte strings `(R,)`, in the order of the rows; one more than each vote, so that -1 comes first."""
    shifted = _columns(rows) + np.int8(1)
    return shifted.view(f"S{shifted.shape[1]}").ravel()
