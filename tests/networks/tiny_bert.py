"""A tiny BERT of random weights as a directory in the Hugging Face layout."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "red", "cat", "dog", "##s", "run", "."]
CONFIG = {
    "model_type": "bert", "vocab_size": 14, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 20, "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-6,
    "hidden_act": "gelu", "pad_token_id": 0,
}  # fmt: skip


def layer_names(i):
    """The eight parts of a layer: query, key, value, output, up, down, and two norms."""
    dense = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    names = [*dense, "intermediate.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm"]
    return [f"encoder.layer.{i}.{name}" for name in names]


def random_state(config=CONFIG, seed=0):
    """Random tensors by their names in the file."""
    random = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for i in range(config["num_hidden_layers"]):
        for name in layer_names(i):
            wide, tall = (inner, width), (width, inner)
            shape = wide if "intermediate" in name else tall if name.endswith(".output.dense") else (width, width)
            shape = (width, width) if "attention" in name else shape
            shapes[f"{name}.weight"] = shape[:1] if "LayerNorm" in name else shape
            shapes[f"{name}.bias"] = shape[:1]
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def write_bert(folder: Path, state=None, *, vocabulary=VOCABULARY, **changes) -> Path:
    """config.json (fields of None are left out), vocab.txt and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIG | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    save_file(random_state() if state is None else state, folder / "model.safetensors")
    return folder
