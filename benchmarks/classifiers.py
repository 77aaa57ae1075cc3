"""What the scripts about scoring share: a classifier on MiniLM with a random head, rows as files, a pool of actors."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.demo import encoder_path

CLASSES = 77  # as banking77 has


def write_minilm(folder: Path, classes: int = CLASSES) -> str:
    """MiniLM with weights, under a random head whose scores tell labels apart."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    labels = {number: f"label {number:03d}" for number in range(classes)}
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder_path(), num_labels=classes, id2label=labels, label2id={v: k for k, v in labels.items()}
    )
    model.classifier.weight.data.normal_(0, 1)
    return _saved(model, AutoTokenizer.from_pretrained(encoder_path()), folder)


def write_small(folder: Path, classes: int) -> str:
    """A random BERT, 2 layers of 64, with a real tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(encoder_path())
    torch.manual_seed(0)
    labels = {number: f"label {number:03d}" for number in range(classes)}
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    config = BertConfig(vocab_size=len(tokenizer), id2label=labels, label2id={v: k for k, v in labels.items()}, **sizes)
    return _saved(BertForSequenceClassification(config), tokenizer, folder)


def write_rows(path: Path, texts: list[str], classes: int = CLASSES) -> None:
    """Rows with the columns text and label, the labels in turn."""
    with open(path, "w", encoding="utf8") as file:
        for place, text in enumerate(texts):
            row = {"text": text, "label": f"label {place % classes:03d}"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def pool(rows: int, **changes: Any) -> Any:
    """The actors that raypipe takes for so many rows on this machine's CPUs, changed as said."""
    from raypipe.evaluate.actors import choose_actors

    return dataclasses.replace(choose_actors(False, rows), **changes)


def plain_loop(model_folder: str, texts: list[str], max_length: int) -> np.ndarray:
    """Probabilities one row at a time, without padding, in float32  # (rows, classes)."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
            rows.append(model(**encoded).logits[0].softmax(-1).numpy())
    return np.array(rows)


def _saved(model: Any, tokenizer: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
