"""Tiny datasets and graphs as files: two species of two breeds, as numbers and as pictures; texts of two archives."""

import base64
import io
import json
import re

import numpy as np
from PIL import Image

from experiments.fusion_config import FusionConfig
from tests.networks.tiny_bert import CONFIG, random_state, write_bert

BREEDS = ("arven", "belmar", "corin", "dax")

# Belmar may be solid or striped, so its coat is left open and it has no deterministic path.
GRAPH = {
    "format": "jlabel.label_graph/1",
    "name": "tiny",
    "root": "animal",
    "nodes": [
        {"id": "animal", "title": "Animal"},
        {"id": "cat", "title": "Cat"},
        {"id": "dog", "title": "Dog"},
        {"id": "cat.solid", "title": "Solid coat"},
        {"id": "cat.striped", "title": "Striped coat"},
        *({"id": breed, "title": breed.capitalize()} for breed in BREEDS),
    ],
    "edges": [
        ["animal", "cat"],
        ["animal", "dog"],
        ["cat", "cat.solid"],
        ["cat", "cat.striped"],
        ["cat.solid", "arven"],
        ["cat.solid", "belmar"],
        ["cat.striped", "belmar"],
        ["dog", "corin"],
        ["dog", "dax"],
    ],
    "blocks": [{"parent": "cat", "name": "coat", "nodes": ["cat.solid", "cat.striped"]}],
    "label_sets": [
        {"name": "breeds", "labels": {breed: breed for breed in BREEDS}},
        {"name": "species", "labels": {"Cat": "cat", "Dog": "dog"}},
    ],
}
TOPICS = {
    "cs.ai": ("agent", "plan", "search"),
    "cs.cl": ("word", "parse", "corpus"),
    "math.nt": ("prime", "sieve", "modular"),
    "math.ag": ("scheme", "sheaf", "variety"),
}
CATEGORIES = tuple(sorted(TOPICS))  # cs.ai, cs.cl, math.ag, math.nt: classes of the fine set
ARCHIVES = ("cs", "math")
TEXT_GRAPH = {
    "format": "jlabel.label_graph/1",
    "name": "topics",
    "root": "all",
    "nodes": [{"id": i} for i in ("all", *ARCHIVES, *CATEGORIES)],
    "edges": [*(["all", a] for a in ARCHIVES), *([c.partition(".")[0], c] for c in CATEGORIES)],
    "blocks": [
        {"parent": "all", "name": "archive", "nodes": list(ARCHIVES)},
        *(
            {"parent": a, "name": f"category of {a}", "nodes": [c for c in CATEGORIES if c.startswith(a)]}
            for a in ARCHIVES
        ),
    ],
    "label_sets": [
        {"name": "categories", "labels": {c: c for c in CATEGORIES}},
        {"name": "archives", "labels": {a: a for a in ARCHIVES}},
    ],
}
COLOURS = ((220, 40, 40), (40, 220, 40), (40, 40, 220), (220, 220, 40))


def write_graph(folder, **changes):
    """graph.json, with top-level fields replaced."""
    path = folder / "graph.json"
    path.write_text(json.dumps({**GRAPH, **changes}))
    return path


def features(rng, breeds):
    """Rows of four numbers around a corner of their own for each breed."""
    return (4 * np.eye(4)[breeds] + 0.3 * rng.normal(size=(len(breeds), 4))).astype(np.float32)


def write_features(folder, *, train=6, val=2, test=3, coarse=6):
    """fine.csv with a split column, and coarse.npz."""
    rng = np.random.default_rng(0)
    lines = ["name,a,b,c,d,label,split"]
    for split, count in (("train", train), ("val", val), ("test", test)):
        breeds = np.repeat(np.arange(4), count)
        for i, (breed, row) in enumerate(zip(breeds, features(rng, breeds), strict=True)):
            lines.append(f"{split}{i},{','.join(f'{x:.4f}' for x in row)},{BREEDS[breed]},{split}")
    (folder / "fine.csv").write_text("\n".join(lines) + "\n")
    breeds = np.repeat(np.arange(4), coarse)
    species = np.array(["Cat", "Cat", "Dog", "Dog"])[breeds]
    np.savez(folder / "coarse.npz", features=features(rng, breeds), label=species)


def picture(rng, breed, *, size=16):
    """A noisy patch in the breed's colour."""
    noise = rng.integers(-30, 31, (size, size, 3))
    return Image.fromarray(np.clip(np.array(COLOURS[breed]) + noise, 0, 255).astype(np.uint8))


def write_pictures(folder, *, train=2, test=1, coarse=2):
    """Folders fine/SPLIT/BREED and coarse/SPECIES."""
    rng = np.random.default_rng(0)
    for breed, name in enumerate(BREEDS):
        for split, count in (("train", train), ("test", test)):
            place = folder / "fine" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                picture(rng, breed).save(place / f"{i}.png")
        place = folder / "coarse" / ("Cat" if breed < 2 else "Dog")
        place.mkdir(parents=True, exist_ok=True)
        for i in range(coarse):
            picture(rng, breed).save(place / f"{name}{i}.png")


def feature_config(folder, **changes):
    """A study of the feature files in that folder, a few seconds long."""
    settings = {
        "experiment": "tiny",
        "data": f"csv:{folder / 'fine.csv'}",
        "coarse_data": f"npz:{folder / 'coarse.npz'}",
        "graph": str(folder / "graph.json"),
        "seeds": (0,),
        "steps": 200,
        "batch_size": 8,
        "hidden": 16,
        "folds": 2,
        "learning_rate": 0.03,
        "weight_decay": 0.0,
        "methods": ("graph fused",),
    }
    return FusionConfig(**{**settings, **changes})


def picture_config(folder, **changes):
    """A study of the pictures in that folder: a few steps, so nothing is learnt."""
    places = {"data": f"folder:{folder / 'fine'}", "coarse_data": f"folder:{folder / 'coarse'}"}
    settings = {"encoder": "cnn", "image_size": 16, "steps": 2, "batch_size": 4}
    return feature_config(folder, **{**places, **settings, **changes})


def read_features(path, split):
    """The numbers of one split of fine.csv, float32 [N, 4]."""
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return np.array([line[1:5] for line in lines if line[6] == split], np.float32)


def embedded_sizes(page):
    """Sizes of the pictures in a page."""
    data = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(text))).size for text in data]


def topic_text(rng, *categories, words=6):
    """Words of some categories among words that all texts have."""
    own = [word for c in categories for word in rng.choice(TOPICS[c], words)]
    return " ".join(rng.permutation([*own, "we", "show", "that"]))


def write_texts(folder, *, train=6, val=3, test=3, coarse=8):
    """texts.csv, several.csv (most rows with a second category), archives.csv, graph.json and a tiny BERT in bert/."""
    rng = np.random.default_rng(0)
    tables = {"texts": ["name,text,label,split"], "several": ["name,text,label,split"], "archives": ["name,text,label"]}
    for split, count in (("train", train), ("val", val), ("test", test)):
        for c in CATEGORIES:
            for i in range(count):
                tables["texts"].append(f"{split}/{c}{i},{topic_text(rng, c)},{c},{split}")
                labels = [c, *rng.choice(sorted({*CATEGORIES} - {c}), i % 3, replace=False)]
                text = topic_text(rng, *labels, words=4)
                tables["several"].append(f"{split}/{c}{i},{text},{'|'.join(labels)},{split}")
    for c in CATEGORIES:
        rows = (f"{c}{i},{topic_text(rng, c)},{c.partition('.')[0]}" for i in range(coarse))
        tables["archives"] += rows
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    write_graph(folder, **TEXT_GRAPH)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "we", "show", "that", *(w for c in CATEGORIES for w in TOPICS[c])]
    size = {"vocab_size": len(words)}
    write_bert(folder / "bert", random_state(CONFIG | size), vocabulary=words, **size)


def text_config(folder, **changes):
    """A study of the texts in that folder: a few steps of an LSTM, so little is learnt."""
    places = {"data": f"csv:{folder / 'texts.csv'}", "coarse_data": f"csv:{folder / 'archives.csv'}"}
    settings = {"encoder": "lstm", "steps": 4, "batch_size": 4, "hidden": 0, "max_length": 16, "learning_rate": 0.02}
    return feature_config(folder, **{**places, **settings, **changes})


def frozen_text_config(folder, **changes):
    """A study of heads on the features of the tiny BERT in that folder."""
    return text_config(folder, **{"encoder": f"bert:{folder / 'bert'}", "steps": 40, **changes})
