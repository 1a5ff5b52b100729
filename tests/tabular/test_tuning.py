import functools
import inspect

import jax
import numpy as np
import pytest

from jlabel.tabular import (
    BASELINES,
    TUNING,
    LogUniform,
    TabularError,
    Training,
    classification_score,
    fit_tuned,
    sample_settings,
)
from tests.tabular.problems import one_run, small_problem

KEYS = jax.random.split(jax.random.key(7), 2)


def test_every_method_has_ranges_of_its_own_settings():
    assert list(TUNING) == list(BASELINES)
    for method, space in TUNING.items():
        fit = BASELINES[method]
        fit = fit.func if isinstance(fit, functools.partial) else fit
        names = inspect.signature(fit).parameters
        assert set(space) <= set(names) | (set(Training.__annotations__) if "training" in names else set())


def test_draws_are_within_their_ranges_and_spread_over_them():
    for method, space in TUNING.items():
        drawn = [sample_settings(method, generator=np.random.default_rng(seed)) for seed in range(60)]
        for name, values in space.items():
            found = [own[name] for own in drawn]
            if isinstance(values, LogUniform):
                assert values.low <= min(found) < max(found) <= values.high
                middle = np.exp(np.mean(np.log(values)))
                assert 10 < sum(value < middle for value in found) < 50
            else:
                assert set(found) == set(values)


@pytest.mark.parametrize("method", ["logistic", "gbdt"])
def test_each_run_keeps_what_does_best_on_its_validation_rows(method):
    problem = small_problem()
    settings = {"max_iter": 5} if method == "gbdt" else {}
    fit = fit_tuned(method, problem, rounds=2, key=KEYS, **settings)
    assert fit.scores.shape == (3, 2)
    probs = fit.predict_proba(problem.table)
    for run in range(2):
        rows = problem.validation[run][problem.validation[run] >= 0]
        found = classification_score(np.log(probs[run][rows]), problem.labels[rows])
        assert found == pytest.approx(fit.scores[:, run].max(), abs=1e-12)
        again = BASELINES[method](problem, key=KEYS, **fit.settings[fit.chosen[run]]).predict_proba(problem.table)
        np.testing.assert_allclose(again[run], probs[run], atol=1e-12)
        assert settings.items() <= fit.settings[fit.chosen[run]].items()


def test_no_rounds_are_the_defaults():
    problem = one_run(small_problem(), 0)
    fit = fit_tuned("logistic", problem, rounds=0, key=KEYS[0])
    assert fit.settings == ({},)
    expected = BASELINES["logistic"](problem).predict_proba(problem.table)
    np.testing.assert_array_equal(fit.predict_proba(problem.table), expected)


@pytest.mark.parametrize(
    ("method", "changes", "rounds", "message"),
    [
        ("forest", {}, 1, "method is 'forest'; allowed: 'prior', 'logistic', 'gbdt'"),
        (
            "mlp",
            {"validation": None},
            1,
            "tuning chooses on validation rows, and the problem has none; give validation",
        ),
        ("mlp", {}, -1, "rounds is -1; allowed: whole numbers from 0"),
    ],
)
def test_tuning_that_cannot_be(method, changes, rounds, message):
    with pytest.raises(TabularError, match=message):
        fit_tuned(method, small_problem()._replace(**changes), rounds=rounds, key=KEYS)


def test_unknown_methods_have_no_settings():
    with pytest.raises(TabularError, match="method is 'forest'; allowed"):
        sample_settings("forest", generator=np.random.default_rng(0))
