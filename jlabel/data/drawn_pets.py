"""Drawn faces of six cat and six dog breeds: a small world where the truth of every attribute is known.

A breed is a combination of ears, hair and muzzle; some breeds also fix their coat, the others draw it per picture.
Colour, pose, background, light and noise are nuisances. The fine set names the breed, the coarse set the species:

>>> import jax
>>> fine = drawn_pets(jax.random.key(0), per_breed=2)
>>> fine["image"].shape, [LABEL_NAMES[i] for i in fine["label"][:4]]
((24, 64, 64, 3), ['arvena', 'arvena', 'belmira', 'belmira'])
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jlabel.data import drawing
from jlabel.data.drawing import cover, ellipse, paint, segment, triangle

EARS = ("pointed", "folded", "round")
HAIR = ("short", "long")
MUZZLE = ("flat", "medium", "long")
COAT = ("solid", "striped", "spotted")
SPECIES = ("cat", "dog")

# Nuisance and signal strengths of the faces (those shared with the flowers are in drawing.py).
ROTATION = 0.24  # of the head, radians to either side
SCALE = (0.80, 1.02)
OFFSET = 0.11
COAT_CONTRAST = (0.35, 0.60)  # how much darker or lighter the pattern is than the fur
COLOUR_SPREAD = 0.08  # of the fur around one of the base colours
FORM_SPREAD = 0.05  # relative spread of the sizes of ears, muzzle, eyes and head
YAW = 0.08  # sideways shift of the inner face: the head turns
PATTERN_RATE = (3.2, 4.4)  # stripes or spots per unit (32 pixels)
FRINGE = (0.05, 0.10)  # depth of the fringe of long hair

_FUR = np.array(
    [[0.82, 0.56, 0.28], [0.55, 0.36, 0.22], [0.62, 0.62, 0.64], [0.90, 0.84, 0.72], [0.36, 0.33, 0.34]], np.float32
)


class Breed(NamedTuple):
    """A breed's form; `coat` is the pattern it fixes, or None when each picture draws its own."""

    name: str
    species: str
    ears: str
    hair: str
    muzzle: str
    coat: str | None


# Per species: three anchors (one per pattern; the first two differ by their coat only) and three with free coats.
BREEDS = (
    Breed("arvena", "cat", "pointed", "short", "medium", "solid"),
    Breed("belmira", "cat", "pointed", "short", "medium", "striped"),
    Breed("corvane", "cat", "round", "long", "medium", "spotted"),
    Breed("delmora", "cat", "folded", "short", "flat", None),
    Breed("elswick", "cat", "pointed", "long", "flat", None),
    Breed("fenmoor", "cat", "round", "short", "long", None),
    Breed("garrow", "dog", "folded", "short", "long", "solid"),
    Breed("hadley", "dog", "folded", "short", "long", "striped"),
    Breed("ingram", "dog", "pointed", "long", "medium", "spotted"),
    Breed("jorvik", "dog", "round", "short", "flat", None),
    Breed("kelso", "dog", "folded", "long", "medium", None),
    Breed("lomond", "dog", "pointed", "short", "long", None),
)
LABEL_NAMES = tuple(breed.name for breed in BREEDS)
SPECIES_LABEL_NAMES = SPECIES


def breed_table(anchors: int = 3) -> tuple[Breed, ...]:
    """The twelve breeds when only the first `anchors` (0 to 3) anchors of each species fix their coat.

    The second anchor has the form of the first. With fewer than two anchors nothing could tell them apart, so there
    the second takes a muzzle that no other breed of its form has: long for cats, flat for dogs.

    Example:
      >>> [breed.coat for breed in breed_table(1)[:3]], breed_table(1)[1].muzzle
      (['solid', None, None], 'long')
    """
    anchors = drawing.check_count("anchors", anchors, least=0, most=3)
    table = []
    for i, breed in enumerate(BREEDS):
        place = i % 6
        if place < 3 and place >= anchors:
            breed = breed._replace(coat=None)
        if place == 1 and anchors < 2:
            breed = breed._replace(muzzle="long" if breed.species == "cat" else "flat")
        table.append(breed)
    return tuple(table)


def drawn_pets(key: jax.Array, *, per_breed: int = 20, anchors: int = 3, shift: bool = False) -> dict[str, np.ndarray]:
    """Fine pictures: the same number of every breed, in the order of `LABEL_NAMES`.

    Args:
      key: typed PRNG key; picture i depends on (key, i) and its attributes only.
      per_breed: pictures of each of the twelve breeds, at least 1.
      anchors: how many breeds of each species fix their coat, 0 to 3.
      shift: draw with the coarse set's background, contrast and brightness.

    Returns:
      `image` uint8 [N, 64, 64, 3]; int32 [N]: `label` (breed, into LABEL_NAMES), `breed` (the same), `species`,
      `ears`, `hair`, `muzzle`, `coat` (into SPECIES, EARS, HAIR, MUZZLE, COAT: what was drawn).

    Raises:
      InputError: `per_breed` or `anchors` out of range.

    Example:
      >>> rows = drawn_pets(jax.random.key(1), per_breed=1)
      >>> [COAT[i] for i in rows["coat"][:3]]
      ['solid', 'striped', 'spotted']
    """
    per_breed = drawing.check_count("per_breed", per_breed)
    breed = np.repeat(np.arange(len(BREEDS), dtype=np.int32), per_breed)
    return {"label": breed, **_draw_rows(key, breed, anchors, shift)}


def drawn_species(key: jax.Array, *, rows: int = 1500, anchors: int = 3, shift: bool = True) -> dict[str, np.ndarray]:
    """Coarse pictures: only the species is their label, half cats and half dogs in random order.

    Each picture is of a breed drawn uniformly; `breed` keeps it, so that an oracle can be trained.

    Args:
      key: typed PRNG key.
      rows: number of pictures N, at least 1.
      anchors: as in `drawn_pets`.
      shift: another background, contrast and brightness than the fine set.

    Returns:
      As `drawn_pets`, with `label` (species, into SPECIES_LABEL_NAMES).

    Raises:
      InputError: `rows` or `anchors` out of range.

    Example:
      >>> rows = drawn_species(jax.random.key(0), rows=4)
      >>> bool((rows["label"] == rows["species"]).all())
      True
    """
    rows = drawing.check_count("rows", rows)
    which, order, pictures = jax.random.split(key, 3)
    species = np.asarray(jax.random.permutation(order, jnp.arange(rows, dtype=jnp.int32) % 2))
    breed = 6 * species + np.asarray(jax.random.randint(which, (rows,), 0, 6, dtype=jnp.int32))
    return {"label": species, **_draw_rows(pictures, breed, anchors, shift)}


def rows(
    split: str,
    *,
    seed: int = 0,
    per_breed: int = 20,
    anchors: int = 3,
    val_per_breed: int = 10,
    test_per_breed: int = 50,
) -> dict[str, np.ndarray]:
    """The rows of `embedded:drawn_pets`: split "train", "val" or "test" of one seed, from disjoint keys.

    Example:
      >>> len(rows("val", val_per_breed=2)["label"])
      24
    """
    key = drawing.split_key(split, seed)
    return drawn_pets(
        key, per_breed={"train": per_breed, "val": val_per_breed, "test": test_per_breed}[split], anchors=anchors
    )


def species_rows(
    split: str, *, seed: int = 0, rows: int = 1500, anchors: int = 3, shift: bool = True
) -> dict[str, np.ndarray]:
    """The rows of `embedded:drawn_species`: `rows` for training, a fifth of them (at least 1) for "val" and "test".

    Example:
      >>> len(species_rows("test", rows=10)["label"])
      2
    """
    key = drawing.split_key(split, seed, stream=1)
    number = drawing.check_count("rows", rows)
    return drawn_species(key, rows=number if split == "train" else max(1, number // 5), anchors=anchors, shift=shift)


def _draw_rows(key: jax.Array, breed: np.ndarray, anchors: int, shift: bool) -> dict[str, np.ndarray]:
    table = breed_table(anchors)
    coats, pictures = jax.random.split(key)
    drawn = np.asarray(jax.random.randint(coats, breed.shape, 0, len(COAT), dtype=jnp.int32))
    fixed = np.array([-1 if row.coat is None else COAT.index(row.coat) for row in table], np.int32)[breed]
    truth = {
        "species": np.array([SPECIES.index(row.species) for row in table], np.int32)[breed],
        "ears": np.array([EARS.index(row.ears) for row in table], np.int32)[breed],
        "hair": np.array([HAIR.index(row.hair) for row in table], np.int32)[breed],
        "muzzle": np.array([MUZZLE.index(row.muzzle) for row in table], np.int32)[breed],
        "coat": np.where(fixed < 0, drawn, fixed).astype(np.int32),
    }
    return {"image": drawing.render(_draw_faces, pictures, truth, shift=shift), "breed": breed, **truth}


@jax.jit
def _draw_faces(keys: jax.Array, truth: dict[str, jax.Array], shift: jax.Array) -> jax.Array:
    return jax.vmap(lambda key, row: _draw_face(key, row, shift))(keys, truth)


def _draw_face(key: jax.Array, truth: dict[str, jax.Array], shift: jax.Array) -> jax.Array:
    """One face, uint8 [64, 64, 3]; its nuisances are the same whatever the attributes are."""
    chance_key, noise_key = jax.random.split(key)
    chance = jax.random.uniform(chance_key, (55,))
    image = drawing.background(chance[0:25], shift)
    x, y = drawing.posed_grid(chance[25:29], rotation=ROTATION, scale=SCALE, offset=OFFSET)
    jitter = 1.0 + FORM_SPREAD * drawing.normal(chance[29:36])
    cat = truth["species"] == 0
    head = _head(x, y, truth["hair"], cat, jitter, chance[36:39])
    fur, ear_fur, muzzle_fur = _fur(x, y, truth["coat"], chance[39:50])

    ear, inside = _ears(jnp.abs(x), y, truth["ears"], cat, jitter)
    drop = truth["ears"] == 1
    image = paint(image, jnp.where(drop, 0.0, cover(ear)), fur)
    image = paint(image, jnp.where(drop, 0.0, cover(inside)), jnp.array([0.75, 0.50, 0.48]) * 0.9)
    image = paint(image, cover(head), fur)
    image = paint(image, jnp.where(drop, cover(ear), 0.0), ear_fur)
    image = _inner_face(image, x, y, truth["muzzle"], cat, muzzle_fur, jitter, chance[50:52])
    return drawing.finish(image, chance[52:55], noise_key, shift)


def _head(
    x: jax.Array, y: jax.Array, hair: jax.Array, cat: jax.Array, jitter: jax.Array, chance: jax.Array
) -> jax.Array:
    """The skull; long hair gives it a ragged fringe that is deepest at the cheeks. `chance` is uniform [3]."""
    wide, high = jnp.where(cat, 0.60, 0.53) * jitter[0], jnp.where(cat, 0.52, 0.58) * jitter[1]
    skull = ellipse(x, y, 0.0, 0.08, wide, high)
    depth, phase = drawing.between(chance[0], FRINGE), 2 * jnp.pi * chance[1:3]
    around = jnp.arctan2(y - 0.08, x)
    ragged = jnp.abs(jnp.sin(9.0 * around + phase[0])) + 0.6 * jnp.abs(jnp.sin(14.0 * around + phase[1]))
    cheeks = jnp.clip(0.55 + y, 0.0, 1.0)
    return skull - jnp.where(hair == 1, depth * cheeks * (2.4 * ragged - 0.6), 0.0)


def _ears(
    side: jax.Array, y: jax.Array, ears: jax.Array, cat: jax.Array, jitter: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Outer and inner shape of both ears; `side` is |x|. Folded ears hang beside the head and have no inside."""
    tall, broad = jitter[2], jitter[3]
    top = jnp.where(cat, -0.84, -0.90) * tall
    pointed = triangle(side, y, (0.08, -0.30), (0.52 * broad, top), (0.62, -0.05))
    pointed_in = triangle(side, y, (0.24, -0.34), (0.49 * broad, top + 0.16), (0.52, -0.18))
    rounded = ellipse(side, y, 0.46, -0.40, 0.24 * broad, 0.25 * tall)
    rounded_in = ellipse(side, y, 0.46, -0.40, 0.13 * broad, 0.14 * tall)
    length = jnp.where(cat, 0.22, 0.32) * tall
    folded = ellipse(side, y, jnp.where(cat, 0.50, 0.52), jnp.where(cat, -0.16, -0.02), 0.17 * broad, length)
    outer = jnp.where(ears == 0, pointed, jnp.where(ears == 1, folded, rounded))
    return outer, jnp.where(ears == 0, pointed_in, jnp.where(ears == 1, 1.0, rounded_in))


def _fur(x: jax.Array, y: jax.Array, coat: jax.Array, chance: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Colours: the fur with its pattern, that of folded ears (darker), the muzzle (paler). `chance` is uniform [11]."""
    base = drawing.choose(jnp.asarray(_FUR), chance[0]) + COLOUR_SPREAD * drawing.normal(chance[1:4])
    contrast = drawing.between(chance[4], COAT_CONTRAST)
    # Dark fur has pale markings and pale fur dark ones; in between either may happen.
    darker = jnp.where(jnp.abs(base.mean() - 0.5) < 0.12, chance[5] < 0.5, base.mean() > 0.5)
    mark = jnp.where(darker, base * (1.0 - contrast), base + contrast * (1.0 - base))

    angle = drawing.between(chance[6], (-0.6, 0.6))
    phase = chance[7:9]
    rate = drawing.between(chance[9], PATTERN_RATE)
    u = x * jnp.cos(angle) + y * jnp.sin(angle)
    v = y * jnp.cos(angle) - x * jnp.sin(angle)
    bend = 0.12 * jnp.sin(5.0 * v + 6.0 * chance[10])
    stripes = jnp.abs(jnp.mod(rate * (u + bend) + phase[0], 1.0) - 0.5) / rate - 0.24 / rate
    row = jnp.floor(rate * v + phase[1])
    # Every second row of spots is moved by half a cell, so that spots never line up to stripes.
    cell_u = jnp.mod(rate * u + phase[0] + 0.5 * jnp.mod(row, 2.0), 1.0) - 0.5
    cell_v = jnp.mod(rate * v + phase[1], 1.0) - 0.5
    spots = (jnp.sqrt(cell_u**2 + cell_v**2 + 1e-9) - 0.33) / rate
    pattern = jnp.where(coat == 0, 1.0, jnp.where(coat == 1, stripes, spots))
    fur = paint(jnp.broadcast_to(base, (*x.shape, 3)), cover(pattern), mark)
    return fur, 0.8 * fur, base + 0.45 * (0.95 - base)


def _inner_face(
    image: jax.Array,
    x: jax.Array,
    y: jax.Array,
    muzzle: jax.Array,
    cat: jax.Array,
    fur: jax.Array,
    jitter: jax.Array,
    chance: jax.Array,
) -> jax.Array:
    """Muzzle, nose, mouth, eyes; cats have slit pupils, a pink nose and whiskers. `chance` is uniform [2]."""
    x = x - drawing.between(chance[0], (-YAW, YAW))
    side = jnp.abs(x)
    length = jnp.array([0.13, 0.21, 0.34])[muzzle] * jitter[4]
    breadth = jnp.array([0.30, 0.25, 0.20])[muzzle] * jitter[5]
    middle = jnp.array([0.24, 0.32, 0.42])[muzzle]
    nose = jnp.array([0.10, 0.22, 0.46])[muzzle]
    image = paint(image, cover(ellipse(x, y, 0.0, middle, breadth, length)), fur)

    dark = jnp.array([0.12, 0.09, 0.09])
    mouth_end = middle + 0.8 * length
    line = jnp.minimum(
        segment(x, y, 0.0, nose, 0.0, mouth_end - 0.04), segment(side, y, 0.0, mouth_end - 0.04, 0.12, mouth_end)
    )
    image = paint(image, 0.8 * cover(line - 0.018), dark)
    tip = jnp.where(
        cat,
        triangle(x, y, (-0.085, nose - 0.05), (0.085, nose - 0.05), (0.0, nose + 0.06)),
        ellipse(x, y, 0.0, nose, 0.12, 0.085),
    )
    image = paint(image, cover(tip), jnp.where(cat, jnp.array([0.80, 0.45, 0.47]), dark))

    eye_x, eye_y, eye = jnp.where(cat, 0.27, 0.22), -0.08, jitter[6]
    iris = jnp.array([[0.55, 0.70, 0.25], [0.85, 0.65, 0.20], [0.40, 0.62, 0.75]])
    ball = ellipse(side, y, eye_x, eye_y, jnp.where(cat, 0.125, 0.085) * eye, jnp.where(cat, 0.10, 0.09) * eye)
    image = paint(image, cover(ball), jnp.where(cat, drawing.choose(iris, chance[1]), jnp.array([0.22, 0.13, 0.08])))
    slit = ellipse(side, y, eye_x, eye_y, jnp.where(cat, 0.032, 0.05), jnp.where(cat, 0.09, 0.05))
    image = paint(image, cover(slit), dark)

    strokes = [segment(side, y, 0.16, nose + 0.10 + d, 0.62, nose + 0.02 + 2.2 * d) for d in (-0.04, 0.05)]
    whiskers = cover(jnp.minimum(strokes[0], strokes[1]) - 0.012)
    return paint(image, jnp.where(cat, 0.75, 0.0) * whiskers, jnp.array([0.95, 0.95, 0.95]))
