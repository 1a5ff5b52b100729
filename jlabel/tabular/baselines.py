"""What TabTransformer's pre-training is compared with, all fitted to one `Problem`: `BASELINES`, by name."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Unpack

import jax
import numpy as np
from jax.typing import ArrayLike

from jlabel.tabular.boosting import fit_boosting, fit_logistic, fit_prior
from jlabel.tabular.bottleneck import fit_bottleneck
from jlabel.tabular.checks import TabularError, check_number
from jlabel.tabular.denoising import fit_denoising
from jlabel.tabular.fitting import Fitted, NeuralFit, Training, check_training, init_runs, stack_runs, train_problem
from jlabel.tabular.network import Norm, TabTransformer, check_network
from jlabel.tabular.pretrain import Pretrained
from jlabel.tabular.problem import Problem, need_unlabelled, run_keys
from jlabel.tabular.sparse import fit_sparse
from jlabel.tabular.supervised import NetworkOutputs, SupervisedLoss
from jlabel.tabular.tabnet import fit_tabnet

__all__ = ["BASELINES", "fit_mlp", "fit_tabtransformer"]

_ENTROPY = 0.1  # weight of ER where none is given


def fit_mlp(
    problem: Problem,
    *,
    key: jax.Array,
    entropy: float = 0.0,
    pseudo: bool = False,
    embedding_size: int = 32,
    max_hidden: int | None = None,
    **training: Unpack[Training],
) -> NeuralFit:
    """MLP on embeddings of categories and on numbers: TabTransformer without layers.

    Args:
      problem: from `make_problem`. key: typed, one for each run of a problem with an axis of runs ``(R,)``.
      entropy: ER, weight of the mean entropy of predictions on unlabelled rows.
      pseudo: PL, unlabelled rows count with their most likely class, with a weight that grows from 0 to 3 between 10 %
        and 60 % of the steps.
      embedding_size: numbers of a category. max_hidden: most units of a hidden layer, see `TabTransformer`.
      training: see `Training`.

    Returns:
      The networks.

    Raises:
      TabularError: ER or PL without unlabelled rows, keys of another shape, or a setting out of range.

    Source: Huang et al. 2020, section 3; Grandvalet & Bengio 2005 (ER); Lee 2013 (PL).
    """
    network = TabTransformer(
        problem.cardinalities, problem.num_values, problem.num_classes, embedding_size, num_layers=0, num_heads=1,
        max_hidden=max_hidden,
    )  # fmt: skip
    return _fit(problem, network, None, entropy, pseudo, key, training)


def fit_tabtransformer(
    problem: Problem,
    *,
    key: jax.Array,
    entropy: float = 0.0,
    pseudo: bool = False,
    embedding_size: int = 32,
    num_layers: int = 6,
    num_heads: int = 8,
    dropout: float = 0.1,
    norm: Norm = "post",
    max_hidden: int | None = None,
    knots: ArrayLike | None = None,
    embedding_scale: float | None = None,
    pretrained: Pretrained | Sequence[Pretrained] | None = None,
    **training: Unpack[Training],
) -> NeuralFit:
    """TabTransformer, from scratch or from a pre-training, alone or with ER or PL on unlabelled rows.

    Args:
      problem, key, entropy, pseudo, max_hidden, training: as for `fit_mlp`.
      embedding_size, num_layers, num_heads, dropout, norm: of `TabTransformer`; with a pre-training its own count.
      embedding_scale: of `TabTransformer`, with a pre-training as well.
      knots: edges of bins ``(c, bins + 1)``, from `value_knots`, make tokens of the numbers too; with a pre-training
        its own count.
      pretrained: of the same table, one for all runs or one for each; all but the MLP starts from it.

    Returns:
      The networks.

    Raises:
      TabularError: as `fit_mlp`, a pre-training of other columns, or knots of another shape.
    """
    if pretrained is None:
        if knots is not None and (
            np.ndim(knots) != 2 or np.shape(knots)[0] != problem.num_values or np.shape(knots)[1] < 2
        ):
            raise TabularError(
                f"knots of shape {np.shape(knots)}; give ({problem.num_values}, bins + 1), edges for each column's bins"
            )
        bins = 0 if knots is None else np.shape(knots)[1] - 1
        network = TabTransformer(
            problem.cardinalities, problem.num_values, problem.num_classes, embedding_size, num_layers, num_heads,
            dropout, norm=norm, bins=bins, max_hidden=max_hidden,
            embedding_scale=embedding_scale,
        )  # fmt: skip
        return _fit(problem, network, None, entropy, pseudo, key, training, knots)
    given = [pretrained] * problem.num_runs if isinstance(pretrained, Pretrained) else list(pretrained)
    if len(given) != problem.num_runs:
        raise TabularError(
            f"pretrained holds {len(given)}, the problem {problem.num_runs} runs; give one, or one a run"
        )
    sizes = {(part.network.cardinalities, part.network.num_values) for part in given}
    if sizes != {(problem.cardinalities, problem.num_values)} or len({part.network for part in given}) > 1:
        raise TabularError("pretrained is of another table or of several sizes; pre-train on this problem's columns")
    own: dict[str, Any] = {
        "num_outputs": problem.num_classes,
        "max_hidden": max_hidden,
        "embedding_scale": embedding_scale,
    }
    network = given[0].network.clone(**own, parent=None)
    return _fit(problem, network, [part.params for part in given], entropy, pseudo, key, training)


def _fit(
    problem: Problem,
    network: TabTransformer,
    given: Sequence[Any] | None,
    entropy: float,
    pseudo: bool,
    key: jax.Array,
    training: Training,
    knots: ArrayLike | None = None,
) -> NeuralFit:
    check_number("entropy", entropy)
    check_network(network)
    check_training(training)
    if entropy or pseudo:
        need_unlabelled(problem, "ER" if entropy else "PL")
    keys = run_keys(problem, key)
    split = jax.vmap(jax.random.split)(keys)
    params = init_runs(network, split[:, 0], knots)
    if given is not None:
        kept = stack_runs(
            [{name: part for name, part in own["params"].items() if not name.startswith("dense")} for own in given]
        )
        others = {name: part for name, part in stack_runs(given).items() if name != "params"}
        params = {**others, "params": {**params["params"], **kept}}
    loss = SupervisedLoss(network, entropy=float(entropy), pseudo=bool(pseudo))
    return train_problem(
        problem, loss, NetworkOutputs(network), params, keys=split[:, 1], unlabelled=bool(entropy or pseudo), **training
    )


BASELINES: Mapping[str, Callable[..., Fitted]] = MappingProxyType(
    {
        "prior": fit_prior,
        "logistic": fit_logistic,
        "gbdt": fit_boosting,
        "gbdt_pl": functools.partial(fit_boosting, pseudo=True),
        "mlp": fit_mlp,
        "mlp_er": functools.partial(fit_mlp, entropy=_ENTROPY),
        "mlp_pl": functools.partial(fit_mlp, pseudo=True),
        "mlp_dae": fit_denoising,
        "sparse_mlp": fit_sparse,
        "vib": fit_bottleneck,
        "tabnet": fit_tabnet,
        "tabtransformer": fit_tabtransformer,
        "tabtransformer_er": functools.partial(fit_tabtransformer, entropy=_ENTROPY),
        "tabtransformer_pl": functools.partial(fit_tabtransformer, pseudo=True),
    }
)
"""Each row's ``fit(problem, *, key, **settings)``."""
