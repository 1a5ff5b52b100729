"""Teachers whose answers are written down, and the transfer row by row in float64."""

import jax.numpy as jnp
import numpy as np

from jlabel.amalgamation import ChainModel, ChainOutput


def logit(prob):
    return float(np.log(prob) - np.log1p(-prob))


def output(logits):
    return ChainOutput(jnp.asarray(logits), None, None, None)


def scripted(label_names, first, answers=(), *, revisable=True):
    """Says `first` logits; to initial logits with one of `answers`' labels told: those logits, else `first`."""
    names = tuple(label_names)

    def apply_fn(params, features, initial_logits=None):
        logits = jnp.broadcast_to(jnp.asarray(first, jnp.float32), (len(features), len(names)))
        if initial_logits is not None:
            for label, answer in dict(answers).items():
                told = ~jnp.isnan(initial_logits[:, names.index(label)])[:, None]
                logits = jnp.where(told, jnp.asarray(answer, jnp.float32)[None], logits)
        return output(logits)

    return ChainModel(apply_fn, None, names, revisable)


def linear(label_names, params, *, revisable=True):
    """`v = 3 tanh(l_0 A)` with `l_0 = x W` where nothing is told: a teacher whose labels hang together."""

    def apply_fn(params, features, initial_logits=None):
        start = features @ params["own"]
        if initial_logits is not None:
            start = jnp.where(jnp.isnan(initial_logits), start, initial_logits)
        return output(3 * jnp.tanh(start @ params["mix"]))

    return ChainModel(apply_fn, params, tuple(label_names), revisable)


def draw_linear(label_sets, generator, num_features=3):
    return [
        linear(
            names,
            {
                "own": generator.normal(size=(num_features, len(names))).astype(np.float32),
                "mix": generator.normal(size=(len(names), len(names))).astype(np.float32),
            },
        )
        for names in label_sets
    ]


def _say(model, row, initial):
    start = row.astype(np.float64) @ model.params["own"].astype(np.float64)
    start = np.where(np.isnan(initial), start, initial)
    return 3 * np.tanh(start @ model.params["mix"].astype(np.float64))


def _merge(values):
    return min(values) if all(value <= 0 for value in values) else max(values)


def reference(models, features, *, rounds=1, other_logits="initial", keep_unrevised=False):
    """Targets by name, transfers and revised: loops over rows, triples and labels."""
    union = list(dict.fromkeys(name for model in models for name in model.label_names))
    triples = [
        (c, m, n)
        for c in union
        for m in range(len(models))
        for n in range(len(models))
        if m != n and c in models[m].label_names and c in models[n].label_names
    ]
    targets = np.zeros((len(features), len(union)))
    transfers = np.zeros((len(features), len(triples)), bool)
    revised = np.zeros((len(features), len(models)), bool)
    for i, row in enumerate(features):
        first = [
            dict(zip(model.label_names, _say(model, row, np.full(len(model.label_names), np.nan)), strict=True))
            for model in models
        ]
        state = first
        for _ in range(rounds):
            said = [[] for _ in models]
            for k, (c, m, n) in enumerate(triples):
                if state[m][c] > 0 >= state[n][c]:
                    transfers[i, k] = True
                    if not models[n].revisable:
                        continue
                    names = models[n].label_names
                    others = np.nan if other_logits == "initial" else np.array([state[n][name] for name in names])
                    initial = np.full(len(names), others, float)
                    initial[names.index(c)] = state[m][c]
                    said[n].append(dict(zip(names, _say(models[n], row, initial), strict=True)))
                    revised[i, n] = True
            state = [
                {name: _merge([one[name] for one in new]) for name in old} if new else old
                for old, new in zip(state, said, strict=True)
            ]
        pool = [*state, *(first if keep_unrevised else [])]
        for j, label in enumerate(union):
            targets[i, j] = 1 / (1 + np.exp(-_merge([one[label] for one in pool if label in one])))
    return targets, transfers, revised
