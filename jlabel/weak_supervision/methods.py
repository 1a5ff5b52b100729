"""The label models by name, called alike."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import numpy as np

from jlabel.weak_supervision.checks import WeakSupervisionError
from jlabel.weak_supervision.graph_fit import fit_factor_graph
from jlabel.weak_supervision.latent_class import fit_latent_class
from jlabel.weak_supervision.matrix_completion import fit_matrix_completion

Method = Literal["latent_class", "matrix_completion", "factor_graph"]

_FITS: dict[str, Callable[..., Any]] = {
    "latent_class": fit_latent_class,
    "matrix_completion": fit_matrix_completion,
    "factor_graph": fit_factor_graph,
}
_COMMON = {"votes", "num_classes", "balance", "expert_rows", "expert_labels", "init", "key"}


def check_method(method: str) -> Method:
    """Returns the name of a label model.

    >>> check_method("factor_graph")
    'factor_graph'
    """
    if method not in get_args(Method):
        raise WeakSupervisionError(f"method is {method!r}; allowed: {', '.join(get_args(Method))}")
    return method  # type: ignore[return-value]


def method_options(method: str) -> dict[str, Any]:
    """The settings of a label model with their defaults.

    >>> method_options("factor_graph")["l2"]
    0.001
    """
    parameters = inspect.signature(_FITS[check_method(method)]).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name not in _COMMON}


def fit_method(
    method: str,
    votes: Any,
    *,
    num_classes: int,
    balance: Any = None,
    expert_rows: Any = None,
    expert_labels: Any = None,
    init: Any = None,
    key: jax.Array,
    **options: Any,
) -> Any:
    """Fits a label model by its name.

    Args:
        method: `"latent_class"`, `"matrix_completion"` or `"factor_graph"`.
        votes: `(N, M)` votes or `Buckets`.
        num_classes: C; two for the factor graph.
        balance: `(C,)` class balance, or None for the method's default.
        expert_rows: Rows whose class is known. expert_labels: Their classes.
        init: The model of the last fit to the same votes, where the method starts from one.
        key: Typed key.
        options: Settings of the method, see `method_options`.

    Returns:
        What the method's own function returns.

    Raises:
        WeakSupervisionError: An unknown method or setting, or what the method refuses.
    """
    known = sorted(method_options(method))
    for name in options:
        if name not in known:
            raise WeakSupervisionError(f"{name} is no setting of {method}; it has {', '.join(known)}")
    if method == "factor_graph":
        if num_classes != 2:
            raise WeakSupervisionError(
                f"the factor graph knows two classes, not {num_classes}; take latent_class or matrix_completion"
            )
        options["balance"] = 0.5 if balance is None else balance
    else:
        options |= {"num_classes": num_classes, "balance": balance}
        if method == "matrix_completion":
            options["init"] = init
    if expert_rows is not None and len(np.atleast_1d(expert_rows)):
        options |= {"expert_rows": expert_rows, "expert_labels": expert_labels}
    with warnings.catch_warnings():
        if init is not None:  # what there is to say about the votes was said at the first fit
            warnings.simplefilter("ignore")
        return _FITS[method](votes, key=key, **options)
