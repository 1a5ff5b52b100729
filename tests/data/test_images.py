"""Decoding of odd, damaged and hostile pictures; the resize; the augmentations."""

import io
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jlabel.data import augment, decode_image, jitter_color, random_flip, random_shift, resize_image
from jlabel.errors import InputError


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([10 * y, 10 * x, y + x], axis=-1).astype(np.uint8)


def test_png_is_exact() -> None:
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(gradient(5, 7)))), gradient(5, 7))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (2, 1), 77), (77, 77, 77)),
        (Image.new("1", (2, 1), 1), (255, 255, 255)),
        (Image.new("RGBA", (2, 1), (10, 20, 30, 0)), (255, 255, 255)),  # nothing of a hidden colour shows
        (Image.new("RGBA", (2, 1), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("LA", (2, 1), (40, 255)), (40, 40, 40)),
        (Image.new("RGB", (2, 1), (1, 2, 3)).convert("P", palette=Image.Palette.ADAPTIVE), (1, 2, 3)),
        (Image.fromarray(np.full((1, 2), 0x4D12, np.uint16)), (0x4D, 0x4D, 0x4D)),  # 16 bits keep their upper 8
    ],
)
def test_modes_become_rgb(image: Image.Image, expected: tuple[int, int, int]) -> None:
    decoded = decode_image(encode(image))
    assert decoded.shape == (1, 2, 3)
    assert decoded.dtype == np.uint8
    assert tuple(decoded[0, 1]) == expected


def test_cmyk_becomes_rgb() -> None:
    decoded = decode_image(encode(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF"))
    assert tuple(decoded[0, 0]) == (255, 0, 0)


def test_palette_with_transparent_entry_lies_on_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([9, 9, 9, 5, 5, 5])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encode(image, transparency=0))
    assert decoded[0].tolist() == [[255, 255, 255], [5, 5, 5]]


def test_exif_orientation_is_honoured() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise
    decoded = decode_image(encode(Image.fromarray(gradient(3, 5)), exif=exif))
    np.testing.assert_array_equal(decoded, np.rot90(gradient(3, 5), -1))


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (3, 2), (value, 0, 0)) for value in (200, 0)]
    decoded = decode_image(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert tuple(decoded[0, 0]) == (200, 0, 0)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims a huge size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000)])
def test_decompression_bombs_are_refused_unread(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="more than 89478485"):
        decode_image(bomb(*size))


def test_damaged_files_name_the_reason() -> None:
    whole = encode(Image.fromarray(gradient(64, 64)), "JPEG")
    with pytest.raises(InputError, match="0 bytes"):
        decode_image(b"")
    with pytest.raises(InputError, match="not a readable picture.*truncated"):
        decode_image(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable picture.*cannot identify"):
        decode_image(b"Dear diary, this is no picture.")
    with pytest.raises(InputError, match="floating point"):
        decode_image(encode(Image.new("F", (2, 2)), "TIFF"))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_damage_is_an_input_error_or_a_picture(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "BMP"]))
    exif = Image.Exif()
    exif[0x0112] = 3
    damaged = bytearray(encode(Image.fromarray(gradient(16, 16)), kind, exif=exif))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_image(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    except InputError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.shape[2] == 3


def test_resize_takes_the_central_square() -> None:
    image = np.zeros((4, 10, 3), np.uint8)
    image[:, 3:7] = 200
    np.testing.assert_array_equal(resize_image(image, 4), 200)
    np.testing.assert_array_equal(resize_image(image.transpose(1, 0, 2), 4), 200)


def test_resize_equals_scaling_then_cropping() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 48, 3)).astype(np.uint8)
    whole = np.asarray(Image.fromarray(image).resize((16, 8), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize_image(image, 8), whole[:, 4:12])


def test_resize_averages_when_it_shrinks() -> None:
    checkers = np.indices((64, 64)).sum(0) % 2 * 200
    small = resize_image(np.repeat(checkers[..., None], 3, -1).astype(np.uint8), 4)
    assert np.abs(small.astype(int) - 100).max() <= 2  # sampling without antialias would give 0 or 200


def test_resize_bounds() -> None:
    image = gradient(8, 8)
    assert resize_image(image, 8) is image
    assert resize_image(gradient(1, 5000), 3).shape == (3, 3, 3)
    with pytest.raises(InputError, match="image_size=0"):
        resize_image(image, 0)


@pytest.fixture
def batch() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (64, 9, 7, 3)), jnp.uint8)


def test_flip_mirrors_about_half(batch: jax.Array, key: jax.Array) -> None:
    flipped = np.asarray(random_flip(batch, key))
    same = (flipped == np.asarray(batch)).all((1, 2, 3))
    mirrored = (flipped == np.asarray(batch)[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 16 <= mirrored.sum() <= 48


def test_shift_moves_by_at_most_pixels(batch: jax.Array, key: jax.Array) -> None:
    original, shifted = np.asarray(batch), np.asarray(random_shift(batch, key, pixels=2))
    moves = set()
    for before, after in zip(original, shifted, strict=True):
        found = {
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if (after == before[np.ix_(np.clip(np.arange(9) + dy, 0, 8), np.clip(np.arange(7) + dx, 0, 6))]).all()
        }
        assert len(found) == 1
        moves |= found
    assert {dy for dy, _ in moves} == {dx for _, dx in moves} == {-2, -1, 0, 1, 2}
    np.testing.assert_array_equal(random_shift(batch, key, pixels=0), original)


def test_jitter_is_affine_within_its_range(key: jax.Array) -> None:
    batch = jnp.asarray(np.random.default_rng(1).integers(90, 160, (64, 6, 6, 3)), jnp.uint8)
    before = np.asarray(batch, np.float64).reshape(64, -1)
    after = np.asarray(jitter_color(batch, key, brightness=0.1, contrast=0.3), np.float64).reshape(64, -1)
    light, factor = after.mean(1) - before.mean(1), after.std(1) / before.std(1)
    assert np.abs(light).max() <= 0.1 * 255 + 0.5
    assert 0.69 < factor.min() < 0.8
    assert 1.2 < factor.max() < 1.31
    predicted = before.mean(1, keepdims=True) + factor[:, None] * (before - before.mean(1, keepdims=True))
    assert np.abs(predicted + light[:, None] - after).max() < 1.5


def test_jitter_saturates_instead_of_wrapping(key: jax.Array) -> None:
    white = np.asarray(jitter_color(jnp.full((64, 2, 2, 3), 255, jnp.uint8), key, brightness=0.5, contrast=0.0))
    assert white.min() >= 127
    assert (white == 255).mean() > 0.2


def test_augment_is_a_function_of_its_key_under_jit(batch: jax.Array, key: jax.Array) -> None:
    once, again = jax.jit(augment)(batch, key), augment(batch, key)
    np.testing.assert_array_equal(once, again)
    assert once.dtype == jnp.uint8
    assert (np.asarray(augment(batch, jax.random.key(1))) != np.asarray(once)).any()
    off = augment(batch, key, flip=False, shift=0, brightness=0.0, contrast=0.0)
    np.testing.assert_array_equal(off, batch)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda key: augment(jnp.zeros((2, 4, 4, 3)), key), r"images are float32 \(2, 4, 4, 3\)"),
        (lambda key: random_flip(jnp.zeros((4, 4, 3), jnp.uint8), key), r"expected uint8 \[B, H, W, 3\]"),
        (lambda key: random_shift(jnp.zeros((2, 4, 4, 3), jnp.uint8), key, pixels=-1), "pixels=-1"),
        (lambda key: jitter_color(jnp.zeros((2, 4, 4, 3), jnp.uint8), key, contrast=1.5), r"contrast=1\.5"),
    ],
)
def test_bad_arguments(call: object, message: str, key: jax.Array) -> None:
    with pytest.raises(InputError, match=message):
        call(key)  # type: ignore[operator]
