"""Small inputs, and slow definitions to compare with."""

import numpy as np

# Six rows of three classes, worked out by hand: rows 1 and 3 are confident of no class.
LABELS = np.array([0, 0, 1, 1, 2, 2])
PROBS = np.array([[0.9, 0.1, 0], [0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.1, 0.5, 0.4]])

# Ten rows of two classes: one wrong label, and one row that no class is confident of.
TWO_LABELS = np.array([0] * 8 + [1] * 2)
TWO_PROBS = np.array([[0.9, 0.1]] * 6 + [[0.55, 0.45], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])


def noisy(num_rows: int, num_classes: int, *, seed: int = 0, wrong: float = 0.2, steps: int | None = None):
    """Labels, of which some are wrong, and probabilities of a fair model; `steps` makes multiples of 1 / steps."""
    rng = np.random.default_rng(seed)
    true = rng.integers(num_classes, size=num_rows)
    labels = np.where(rng.random(num_rows) < wrong, rng.integers(num_classes, size=num_rows), true)
    logits = rng.normal(size=(num_rows, num_classes))
    logits[np.arange(num_rows), true] += 2
    probs = np.exp(logits)
    probs /= probs.sum(1, keepdims=True)
    if steps is not None:
        probs = np.array([rng.multinomial(steps, row) for row in probs]) / steps
    return labels, probs


def slow_joint(labels, probs, *, collision="confident", thresholds=None):
    """The confident joint, row by row; the diagonal at least 1."""
    num_classes = probs.shape[1]
    if thresholds is None:
        thresholds = [
            probs[labels == j, j].astype(np.float64).mean() if (labels == j).any() else np.inf
            for j in range(num_classes)
        ]
    joint = np.zeros((num_classes, num_classes), int)
    for label, row in zip(labels, probs, strict=True):
        sure = [j for j in range(num_classes) if row[j] >= thresholds[j] - 1e-6]
        if sure:
            among = range(num_classes) if collision == "all" and len(sure) > 1 else sure
            joint[label, max(among, key=lambda j: (row[j], -j))] += 1
    for j in set(labels.tolist()):
        joint[j, j] = max(1, joint[j, j])
    return joint


def slow_round(calibrated):
    """Largest remainder, row by row, ties to the lower class."""
    whole = np.floor(calibrated + 1e-9).astype(int)
    for row, values in zip(whole, calibrated, strict=True):
        order = sorted(range(len(row)), key=lambda j: (-round(values[j] - row[j], 9), j))
        for j in order[: round(values.sum()) - row.sum()]:
            row[j] += 1
    return whole


def slow_noise_rate(labels, probs, rounded):
    """Per pair of classes the rows with the largest difference, ties to the lower row; the argmax is not looked at."""
    mask = np.zeros(len(labels), bool)
    probs = probs.astype(np.float64)
    for i, j in np.argwhere(rounded).tolist():
        if i != j:
            rows = np.flatnonzero(labels == i).tolist()
            mask[sorted(rows, key=lambda r: (probs[r, i] - probs[r, j], r))[: rounded[i, j]]] = True
    return mask


def slow_class(labels, probs, rounded):
    """Per class the rows with the smallest probability of their label, ties to the lower row."""
    mask = np.zeros(len(labels), bool)
    for i in range(len(rounded)):
        rows = np.flatnonzero(labels == i).tolist()
        mask[sorted(rows, key=lambda r: (probs[r, i], r))[: rounded[i].sum() - rounded[i, i]]] = True
    return mask
