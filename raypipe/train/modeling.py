"""Tokenizer and classifier from a name: a fresh head for training, the stored one for inference."""

import atexit
import functools
import shutil
import tempfile
from typing import Any

import pyarrow as pa

from raypipe import storage
from raypipe.errors import ConfigError
from raypipe.hub import Source
from raypipe.tokens import redact

TEMPERATURE = "raypipe_temperature"  # field of config.json


@functools.cache
def local_name(source: Source) -> str:
    """What ``from_pretrained`` can read: a repository, a folder, or a copy of a folder in object storage."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for each worker and each file would bury the log
    if not storage.is_uri(source.name):
        return source.name
    folder = tempfile.mkdtemp(prefix="raypipe-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    storage.download(source.name, folder)
    return folder


def load_config(source: Source, token: str | None) -> Any:
    """The model's configuration. Raises ConfigError where it is no model that transformers can read."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(local_name(source), revision=source.revision, token=token)
    except (OSError, ValueError, KeyError) as error:
        reason = redact(str(error).strip().splitlines()[0][:200])
        raise ConfigError(f"{source} is no model that transformers reads ({reason})", "a text encoder") from None


def require_safetensors(source: Source) -> None:
    """Refuse a folder whose weights are pickles or missing. Raises ConfigError."""
    if source.is_folder and not any(n.endswith(".safetensors") for n in storage.match(source.name, "*")):
        raise ConfigError(
            f"{source} has no weights in safetensors",
            "model.safetensors",
            "save it with save_pretrained of transformers 5",
        )


def parameters(config: Any) -> int:
    """How many parameters a model of this configuration has, counted without allocating it."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        return sum(p.numel() for p in AutoModel.from_config(config).parameters())


def load_tokenizer(source: Source, token: str | None) -> Any:
    """The tokenizer that belongs to a model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(local_name(source), revision=source.revision, token=token)


def new_classifier(source: Source, labels: list[str], seed: int, token: str | None) -> Any:
    """The encoder of ``source`` in float32 under a newly drawn head, with the labels in its configuration.

    The head is drawn even where the checkpoint's has the right shape: a two-class task would else inherit an NLI
    head (entailment / not). float32 whatever the checkpoint stores: half-precision weights lose small updates.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    name = local_name(source)
    where = {"revision": source.revision, "token": token}
    config = AutoConfig.from_pretrained(
        name,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type="single_label_classification",
        **where,
    )
    set_seed(seed)
    fresh = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    head = {k: v for k, v in fresh.state_dict().items() if not k.startswith(f"{fresh.base_model_prefix}.")}
    model = AutoModelForSequenceClassification.from_pretrained(
        name, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, use_safetensors=True, **where
    )
    model.load_state_dict(head, strict=False)
    set_seed(seed)
    return model


def load_classifier(source: Source, token: str | None) -> Any:
    """A fine-tuned classifier in float32 with its own labels. Raises ConfigError where it has no trained head."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model, loading = AutoModelForSequenceClassification.from_pretrained(
        local_name(source),
        revision=source.revision,
        token=token,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
    )
    missing = [key for key in loading["missing_keys"] if not key.startswith(f"{model.base_model_prefix}.")]
    if missing:
        raise ConfigError(
            f"{source} has no classification head ({missing[0]} is missing)",
            "a fine-tuned classifier",
            "train it first",
        )
    return model.eval()


def require_classifier(config: Any, source: Source) -> None:
    """Refuse at the door a model that was saved without a classification head. Raises ConfigError."""
    kinds = config.architectures or []
    if not any("ForSequenceClassification" in kind for kind in kinds):
        raise ConfigError(
            f"{source} has no classification head (it is a {', '.join(kinds) or 'model of no stated kind'})",
            "a fine-tuned classifier",
            "train it first",
        )


def labels_of(config: Any) -> list[str]:
    """The labels of a model's configuration, by output."""
    return [str(config.id2label[i]) for i in range(config.num_labels)]


def temperature_of(config: Any) -> float:
    """What the logits are divided by, as fitted on validation rows when the model was trained; 1 where it was not."""
    return float(getattr(config, TEMPERATURE, None) or 1.0)


def encode(tokenizer: Any, texts: list[str], max_length: int) -> tuple[list[list[int]], list[bool]]:
    """Token ids of each text, cut at ``max_length``, and whether it was cut."""
    if not texts:
        return [], []
    encoded = tokenizer(texts, truncation=True, max_length=max_length, return_attention_mask=False,
                        return_token_type_ids=False, verbose=False)  # fmt: skip
    if encoded.encodings is None:  # a tokenizer in Python does not say what it cut
        return encoded["input_ids"], [len(ids) >= max_length for ids in encoded["input_ids"]]
    return encoded["input_ids"], [bool(e.overflowing) for e in encoded.encodings]


def encode_table(tokenizer: Any, texts: list[str], max_length: int, **columns: Any) -> pa.Table:
    """The same as an Arrow table with the columns input_ids and cut, beside the given ones."""
    ids, cut = encode(tokenizer, texts, max_length)
    return pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32())), "cut": pa.array(cut, pa.bool_()), **columns})
