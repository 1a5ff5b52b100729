"""Drawn flowers of twelve kinds: a small world of shared labels where the truth of every attribute is known.

A kind is a number of petals and the form of a petal; eight kinds fix their colour, four draw it per picture. The fine
set names the kind. The coarse set names only the number of petals, but for two kinds, which both sets name:

>>> import jax
>>> fine = drawn_flowers(jax.random.key(0), per_kind=2)
>>> fine["image"].shape, [LABEL_NAMES[i] for i in fine["label"][:4]]
((24, 64, 64, 3), ['astrel', 'astrel', 'bellora', 'bellora'])
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jlabel.data import drawing
from jlabel.data.drawing import cover, ellipse, paint, segment

COUNT = ("four", "five", "six", "eight")
FORM = ("round", "pointed", "notched")
COLOUR = ("white", "yellow", "red", "blue")
PETALS = np.array([4, 5, 6, 8], np.int32)

# Nuisance and signal strengths of the flowers (those shared with the pets are in drawing.py).
ROTATION = 0.10  # of flower and stalk, radians to either side
SCALE = (1.00, 1.16)
OFFSET = 0.05
HUE_SPREAD = 0.07  # of the petals around their colour
ANGLE_SPREAD = 0.04  # of a petal around its even place, in units of the gap between petals
TURN = 0.06  # of the whole flower, to either side of one petal upright, in units of the gap between petals
LENGTH_SPREAD = 0.06  # relative, of each petal
WIDTH = (0.62, 0.80)  # of a petal, relative to petals that just touch
TILT = (0.88, 1.0)  # the flower seen from the side: shortened along one direction
CENTRE = (0.14, 0.20)

_COLOURS = np.array([[0.93, 0.91, 0.88], [0.93, 0.80, 0.22], [0.82, 0.20, 0.28], [0.36, 0.36, 0.82]], np.float32)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind's number of petals and their form; `colour` is the one it fixes, or None when each picture draws it."""

    name: str
    count: str
    form: str
    colour: str | None


KINDS = (
    Kind("astrel", "four", "round", "red"),
    Kind("bellora", "four", "pointed", "white"),
    Kind("cinthe", "four", "notched", None),
    Kind("dorelle", "five", "round", None),
    Kind("evanth", "five", "pointed", "yellow"),
    Kind("florin", "five", "notched", "blue"),
    Kind("galenth", "six", "round", "blue"),
    Kind("hesperel", "six", "pointed", None),
    Kind("irilla", "six", "notched", "red"),
    Kind("junora", "eight", "round", "yellow"),
    Kind("kalmis", "eight", "pointed", None),
    Kind("lorrel", "eight", "notched", "white"),
)
LABEL_NAMES = tuple(kind.name for kind in KINDS)
# The kinds that the coarse set names too: one with a fixed and one with a free colour.
SHARED_KINDS = ("evanth", "hesperel")
COUNT_LABEL_NAMES = COUNT + SHARED_KINDS


def drawn_flowers(key: jax.Array, *, per_kind: int = 20, shift: bool = False) -> dict[str, np.ndarray]:
    """Fine pictures: the same number of every kind, in the order of `LABEL_NAMES`.

    Args:
      key: typed PRNG key; picture i depends on (key, i) and its attributes only.
      per_kind: pictures of each of the twelve kinds, at least 1.
      shift: draw with the coarse set's background, contrast and brightness.

    Returns:
      `image` uint8 [N, 64, 64, 3]; int32 [N]: `label` (kind, into LABEL_NAMES), `kind` (the same), `count`, `form`,
      `colour` (into COUNT, FORM, COLOUR: what was drawn).

    Raises:
      InputError: `per_kind` out of range.

    Example:
      >>> rows = drawn_flowers(jax.random.key(1), per_kind=1)
      >>> [COLOUR[i] for i in rows["colour"][:2]]
      ['red', 'white']
    """
    per_kind = drawing.check_count("per_kind", per_kind)
    kind = np.repeat(np.arange(len(KINDS), dtype=np.int32), per_kind)
    return {"label": kind, **_draw_rows(key, kind, shift)}


def drawn_flower_counts(key: jax.Array, *, rows: int = 1500, shift: bool = True) -> dict[str, np.ndarray]:
    """Coarse pictures: flowers of a kind drawn uniformly, labelled by their petal count or, if shared, their kind.

    Args:
      key: typed PRNG key.
      rows: number of pictures N, at least 1.
      shift: another background, contrast and brightness than the fine set.

    Returns:
      As `drawn_flowers`, with `label` into COUNT_LABEL_NAMES; `kind` keeps the truth.

    Raises:
      InputError: `rows` out of range.

    Example:
      >>> rows = drawn_flower_counts(jax.random.key(0), rows=3)
      >>> [(COUNT_LABEL_NAMES[i], LABEL_NAMES[k]) for i, k in zip(rows["label"], rows["kind"])]
      [('hesperel', 'hesperel'), ('five', 'florin'), ('hesperel', 'hesperel')]
    """
    rows = drawing.check_count("rows", rows)
    which, pictures = jax.random.split(key)
    kind = np.asarray(jax.random.randint(which, (rows,), 0, len(KINDS), dtype=jnp.int32))
    seen = [kind.name if kind.name in SHARED_KINDS else kind.count for kind in KINDS]
    label = np.array([COUNT_LABEL_NAMES.index(name) for name in seen], np.int32)[kind]
    return {"label": label, **_draw_rows(pictures, kind, shift)}


def rows(
    split: str, *, seed: int = 0, per_kind: int = 20, val_per_kind: int = 10, test_per_kind: int = 50
) -> dict[str, np.ndarray]:
    """The rows of `embedded:drawn_flowers`: split "train", "val" or "test" of one seed, from disjoint keys.

    Example:
      >>> len(rows("val", val_per_kind=2)["label"])
      24
    """
    key = drawing.split_key(split, seed)
    return drawn_flowers(key, per_kind={"train": per_kind, "val": val_per_kind, "test": test_per_kind}[split])


def count_rows(split: str, *, seed: int = 0, rows: int = 1500, shift: bool = True) -> dict[str, np.ndarray]:
    """The rows of `embedded:drawn_flower_counts`: `rows` for training, a fifth of them (at least 1) elsewhere.

    Example:
      >>> len(count_rows("test", rows=10)["label"])
      2
    """
    key = drawing.split_key(split, seed, stream=1)
    number = drawing.check_count("rows", rows)
    return drawn_flower_counts(key, rows=number if split == "train" else max(1, number // 5), shift=shift)


def _draw_rows(key: jax.Array, kind: np.ndarray, shift: bool) -> dict[str, np.ndarray]:
    colours, pictures = jax.random.split(key)
    drawn = np.asarray(jax.random.randint(colours, kind.shape, 0, len(COLOUR), dtype=jnp.int32))
    fixed = np.array([-1 if row.colour is None else COLOUR.index(row.colour) for row in KINDS], np.int32)[kind]
    truth = {
        "count": np.array([COUNT.index(row.count) for row in KINDS], np.int32)[kind],
        "form": np.array([FORM.index(row.form) for row in KINDS], np.int32)[kind],
        "colour": np.where(fixed < 0, drawn, fixed).astype(np.int32),
    }
    return {"image": drawing.render(_draw_flowers, pictures, truth, shift=shift), "kind": kind, **truth}


@jax.jit
def _draw_flowers(keys: jax.Array, truth: dict[str, jax.Array], shift: jax.Array) -> jax.Array:
    return jax.vmap(lambda key, row: _draw_flower(key, row, shift))(keys, truth)


def _draw_flower(key: jax.Array, truth: dict[str, jax.Array], shift: jax.Array) -> jax.Array:
    """One flower, uint8 [64, 64, 3]; its nuisances are the same whatever the attributes are."""
    chance_key, noise_key = jax.random.split(key)
    chance = jax.random.uniform(chance_key, (61,))
    image = drawing.background(chance[0:25], shift)
    x, y = drawing.posed_grid(chance[25:29], rotation=ROTATION, scale=SCALE, offset=OFFSET)
    image = _stalk(image, x, y, chance[29:33])

    # Shorten along a random direction: the flower looks away from the viewer.
    angle, squeeze = jnp.pi * chance[33], drawing.between(chance[34], TILT)
    u = (x * jnp.cos(angle) + y * jnp.sin(angle)) / squeeze
    v = y * jnp.cos(angle) - x * jnp.sin(angle)

    colour = jnp.asarray(_COLOURS)[truth["colour"]] + HUE_SPREAD * drawing.normal(chance[35:38])
    image = _petals(image, u, v, truth["count"], truth["form"], colour, chance[38:56])
    size = drawing.between(chance[56], CENTRE)
    tints = jnp.array([[0.85, 0.68, 0.15], [0.45, 0.30, 0.15], [0.55, 0.65, 0.25]])
    tint = drawing.choose(tints, chance[57])
    distance = ellipse(u, v, 0.0, 0.0, size, size)
    image = paint(image, cover(distance), 0.75 * tint)
    return drawing.finish(paint(image, cover(distance + 0.05), tint), chance[58:61], noise_key, shift)


def _stalk(image: jax.Array, x: jax.Array, y: jax.Array, chance: jax.Array) -> jax.Array:
    """A stalk with one leaf on a random side; `chance` is uniform [4]."""
    side = jnp.where(chance[0] < 0.5, 1.0, -1.0)
    green = jnp.array([0.25, 0.45, 0.20]) + 0.06 * drawing.normal(chance[1:4])
    image = paint(image, cover(segment(x, y, 0.0, 0.0, 0.06 * side, 1.6) - 0.05), green)
    along, across = 0.8 * (x * side - 0.3) + 0.6 * (y - 0.95), 0.8 * (y - 0.95) - 0.6 * (x * side - 0.3)
    return paint(image, cover(ellipse(along, across + 0.2, 0.0, 0.0, 0.32, 0.11)), 0.85 * green)


def _petals(
    image: jax.Array,
    x: jax.Array,
    y: jax.Array,
    count: jax.Array,
    form: jax.Array,
    colour: jax.Array,
    chance: jax.Array,
) -> jax.Array:
    """All petals, each in its own frame: `along` from the centre outwards, `across`. `chance` is uniform [18]."""
    number = jnp.asarray(PETALS)[count]
    most = int(PETALS.max())
    start = 2 * jnp.pi * (drawing.between(chance[0], (-TURN, TURN)) / number - 0.25)
    fill = drawing.between(chance[1], WIDTH)
    jitter = drawing.between(chance[2 : 2 + most], (-ANGLE_SPREAD, ANGLE_SPREAD))
    lengths = 0.78 * (1.0 + LENGTH_SPREAD * drawing.normal(chance[2 + most : 2 + 2 * most]))
    # At the middle of its length a petal that touches its neighbours is this wide (to each side).
    half = jnp.minimum(0.48 * jnp.tan(jnp.pi / number), 0.30) * fill

    def add(image: jax.Array, petal: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        i, shift_by, length = petal
        angle = start + 2 * jnp.pi * (i + shift_by) / number
        along = x * jnp.cos(angle) + y * jnp.sin(angle)
        across = jnp.abs(y * jnp.cos(angle) - x * jnp.sin(angle))
        distance = jnp.where(i < number, _petal(along, across, form, length, half), 1.0)
        # A rim keeps petals apart that overlap, and the base is darker than the tip.
        image = paint(image, cover(distance), 0.6 * colour)
        shade = (0.80 + 0.25 * jnp.clip(along, 0.0, 1.0))[..., None] * colour[None, None]
        return paint(image, cover(distance + 0.035), shade), None

    image, _ = jax.lax.scan(add, image, (jnp.arange(most), jitter, lengths))
    return image


def _petal(along: jax.Array, across: jax.Array, form: jax.Array, length: jax.Array, half: jax.Array) -> jax.Array:
    """Signed distance of one petal from its base at 0 to its tip at `length`; across >= 0."""
    middle = 0.56 * length
    rounded = ellipse(along, across, middle, 0.0, length - middle, half)
    notched = jnp.maximum(rounded, 0.30 * length - (length - along) - 1.6 * across)
    # Two arcs that meet in points at base and tip.
    reach, half = length / 2, 0.8 * half
    radius = (reach**2 + half**2) / (2 * half)
    pointed = jnp.sqrt((along - reach) ** 2 + (across + radius - half) ** 2 + 1e-9) - radius
    return jnp.where(form == 0, rounded, jnp.where(form == 1, pointed, notched))
