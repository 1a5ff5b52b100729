"""Chains whose weights are drawn, and their forward pass in float64, for the rivals that look inside their teachers."""

import jax
import numpy as np

from jlabel.amalgamation import ChainApply, ChainModel, LabelChain

FEATURES, HIDDEN = 3, 4
SETS, SIZES = (("a", "b"), ("c", "b", "d")), (3, 5)
UNION = ("a", "b", "c", "d")
COLUMNS = ((0, 1), (2, 1, 3))


def draw_params(rng, num_labels, hidden, *, num_features=FEATURES, num_layers=1):
    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    layers = {
        f"layer_{k}": {"joined": normal(4 * hidden, (2 * num_labels if k == 0 else hidden) + hidden)}
        | {"bias": normal(4 * hidden)}
        for k in range(num_layers)
    }
    layers["layer_0"]["features"] = normal(4 * hidden, num_features)
    initial = {"kernel": normal(num_features, num_labels), "bias": normal(num_labels)}
    output = {"kernel": normal(hidden, num_labels), "bias": normal(num_labels)}
    return {"params": {"initial": initial, **layers, "output": output}}


def draw_teacher(rng, label_names, hidden, **options):
    chain = ChainApply(LabelChain(len(label_names), hidden, options.get("num_layers", 1)))
    return ChainModel(chain, draw_params(rng, len(label_names), hidden, **options), tuple(label_names))


def draw_teachers(seed):
    rng = np.random.default_rng(seed)
    return tuple(draw_teacher(rng, names, size) for names, size in zip(SETS, SIZES, strict=True))


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def cross_entropy(logits, targets):
    return np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - logits * targets


def run_chain(features, params, *, places=None, output=None, steps=None):
    """Step logits and hidden states of one row after the other, one LSTM layer.

    `places`: the chain runs over these labels alone; the cell still reads all labels, zeros at the others. `output`: a
    function from the hidden state to the logits of `places`, and `initial` parameters of theirs.
    """
    part = {name: {k: np.asarray(v, np.float64) for k, v in own.items()} for name, own in params["params"].items()}
    labels = part["output"]["kernel"].shape[1]
    places = list(range(labels)) if places is None else list(places)
    initial = part["initial"]
    if output is None:
        read = lambda h: h @ part["output"]["kernel"] + part["output"]["bias"]  # noqa: E731
    else:
        read, initial = output
    found_logits, found_states = [], []
    for row in np.asarray(features, np.float64):
        logits = row @ initial["kernel"] + initial["bias"]
        picked = np.zeros(len(places))
        hidden = cell = np.zeros(part["output"]["kernel"].shape[0])
        row_logits, row_states = [], []
        for _ in range(len(places)):
            soft, hard = np.zeros(labels), np.zeros(labels)
            soft[places], hard[places] = logits, picked
            joined = np.concatenate([soft, hard, hidden])
            gates = part["layer_0"]["features"] @ row + part["layer_0"]["joined"] @ joined + part["layer_0"]["bias"]
            i, f, g, o = np.split(gates, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            logits = read(hidden)
            left = np.where(picked > 0, -np.inf, logits)
            if left.max() > 0:
                picked[left.argmax()] = 1
            row_logits.append(logits)
            row_states.append(hidden)
        found_logits.append(row_logits)
        found_states.append(row_states)
    return np.array(found_logits), np.array(found_states)


def final_logits(step_logits):
    """Each label's logit at the step that picked it, else its first."""
    found = []
    for steps in step_logits:
        final, picked = steps[0].copy(), np.zeros(len(steps), bool)
        for logits in steps:
            label = np.where(picked, -np.inf, logits).argmax()
            if not picked[label] and logits[label] > 0:
                final[label], picked[label] = logits[label], True
        found.append(final)
    return np.array(found)


def teachers_say(teachers, features):
    """For each teacher step logits, final logits and last hidden states."""
    return [
        (logits, final_logits(logits), states[:, -1])
        for logits, states in (run_chain(features, model.params) for model in teachers)
    ]


def value_and_gradient(loss, params, batch):
    """Of a loss that is needed once: compiled without the effort that would make it fast."""
    quick = {"xla_backend_optimization_level": 0}
    return jax.jit(jax.value_and_grad(loss), compiler_options=quick)(params, batch)


def drawn_chains(network, num_features, keys):
    """An `init_chains` that compiles nothing."""
    rng = np.random.default_rng(0)
    chains = [draw_params(rng, network.num_labels, network.hidden_size, num_features=num_features) for _ in keys]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *chains)


def no_training(stages):
    """A `train_runs` that notes what it is given and gives the parameters back."""

    def train_runs(loss, params, arrays, *, keys, validation, epochs, batch_size, learning_rate):
        stages.append((params, arrays, validation))
        return params, {}

    return train_runs
