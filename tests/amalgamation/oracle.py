"""The label chain in float64 NumPy, a row and a label at a time."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def chain_row(params, x, *, initial=None, select="positive", path_floor=0.0):
    """One row ``(D,)``: final logits, step logits, order, states of the highest layer."""
    tree = {name: {k: np.asarray(v, np.float64) for k, v in part.items()} for name, part in params["params"].items()}
    logits = x @ tree["initial"]["kernel"] + tree["initial"]["bias"]
    if initial is not None:
        logits = np.array([own if np.isnan(given) else given for own, given in zip(logits, initial, strict=True)])
    labels, layers = len(logits), [tree[f"layer_{k}"] for k in range(len(tree) - 2)]
    hidden = len(tree["output"]["kernel"])
    picked, path = np.zeros(labels), 1.0
    cells, states = [np.zeros(hidden) for _ in layers], [np.zeros(hidden) for _ in layers]
    steps, order, tops, final = [], [], [], None
    for _ in range(labels):
        below = np.concatenate([logits, picked])
        for k, layer in enumerate(layers):
            gates = layer["joined"] @ np.concatenate([below, states[k]]) + layer["bias"]
            if not k:
                gates = gates + layer["features"] @ x
            i, f, g, o = gates.reshape(4, hidden)
            cells[k] = sigmoid(f) * cells[k] + sigmoid(i) * np.tanh(g)
            below = states[k] = sigmoid(o) * np.tanh(cells[k])
        logits = states[-1] @ tree["output"]["kernel"] + tree["output"]["bias"]
        steps.append(logits)
        tops.append(states[-1])
        final = logits.copy() if final is None else final
        left = [j for j in range(labels) if not picked[j]]
        best = max(left, key=lambda j: logits[j])
        chosen = (select == "always" or sigmoid(logits[best]) > 0.5) and (not path_floor or path > path_floor)
        path *= sigmoid(logits[best])
        order.append(best if chosen else -1)
        if chosen:
            picked[best], final[best] = 1, logits[best]
    return final, np.array(steps), np.array(order), np.array(tops)


def cross_entropy(logits, targets):
    p = sigmoid(logits)
    return -(np.asarray(targets) * np.log(p) + (1 - np.asarray(targets)) * np.log(1 - p))
