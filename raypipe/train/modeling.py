"""Tokenizer and classifier from a name: a fresh head for training, the stored one for inference."""

import atexit
import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa

from raypipe import hub, storage
from raypipe.config.scoring import MAX_LENGTH, MIN_LENGTH
from raypipe.errors import ConfigError
from raypipe.hub import Source
from raypipe.runtime import say
from raypipe.tokens import redact

Truncation = Literal["head", "head_tail"]
HEAD_SHARE = 4  # head_tail keeps a quarter of the room from the head: 128 of 510 tokens in Sun et al. 2019
TEMPERATURE = "raypipe_temperature"  # field of config.json
# Said outright each time: left open, transformers asks at the terminal whether to run the model's own code.
NO_CODE = {"trust_remote_code": False}
# Model types that count positions from the padding's id on, so that two or so of their embeddings are no position's.
_AFTER_PADDING = {"camembert", "data2vec-text", "ibert", "lilt", "longformer", "luke", "mpnet", "xmod"} | {
    f"{family}roberta{kind}" for family in ("", "xlm-") for kind in ("", "-prelayernorm", "-xl")
}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def local_name(source: Source) -> str:
    """What ``from_pretrained`` can read: a repository, a folder, or a copy of a folder in object storage."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for each worker and each file would bury the log
    return _copy(source.name, storage.state(source.name)) if storage.is_uri(source.name) else source.name


@functools.cache
def _copy(address: str, state: str) -> str:
    """A local copy of a folder in the ``state`` that it is in; it goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="raypipe-model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    storage.download(address, folder)
    return folder


def load_config(source: Source, token: str | None) -> Any:
    """The model's configuration. Raises ConfigError where it is no model that transformers can read."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(local_name(source), revision=source.revision, token=token, **NO_CODE)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, StrictDataclassError) as error:
        reason = redact(hub.first_line(error)[:200])
        raise ConfigError(f"{source} is no model that transformers reads ({reason})", "a text encoder") from None


def require_safetensors(source: Source, token: str | None) -> None:
    """Refuse weights that are missing, or pickles, which run code as they are read. Raises ConfigError."""
    names = hub.files(source, token)
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = [name for name in names if name.endswith(_PICKLES)]
    raise ConfigError(
        f"{source} has no weights in safetensors" + (f", only the pickle {pickles[0]}" if pickles else ""),
        "model.safetensors, which cannot run code as it is read",
        "save it with save_pretrained of transformers 5",
    )


def require_tokenizer(source: Source, token: str | None, padding: int | None = None) -> None:
    """Refuse a model without the files of its tokenizer: transformers makes one up that knows no word.

    Likewise one that cannot pad; ``padding`` is the id that the model's configuration names, which serves to score.
    Raises ConfigError.
    """
    expected, remedy = "the files of its tokenizer beside the weights", "save it there: tokenizer.save_pretrained"
    try:
        tokenizer = load_tokenizer(source, token)
    except Exception as error:  # of many kinds, a bare Exception among them
        reason = redact(hub.first_line(error)[:200])
        raise ConfigError(
            f"the tokenizer of {source} cannot be loaded ({type(error).__name__}: {reason})", expected, remedy
        ) from error
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ConfigError(f"{source} has no tokenizer", expected, remedy)
    if tokenizer.pad_token_id is None and padding is None:
        raise ConfigError(
            f"the tokenizer of {source} has no padding token, which batches need",
            "one",
            "an encoder such as answerdotai/ModernBERT-base, or set tokenizer.pad_token and save it with the weights",
        )


def require_encoder(config: Any, source: Source) -> None:
    """Refuse a model that transformers cannot put a classification head on. Raises ConfigError."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ConfigError(f"{source} is a {config.model_type}", "a text encoder that transformers classifies with")


def parameters(config: Any) -> int:
    """How many parameters a model of this configuration has, counted without allocating it."""
    return sum(p.numel() for p in _on_no_device(config).parameters())


def multiplied_parameters(config: Any) -> int:
    """Parameters that every token is multiplied with: all but the embeddings, which are looked up."""
    named = _on_no_device(config).named_parameters()
    return sum(p.numel() for name, p in named if not name.startswith("embeddings."))


def _on_no_device(config: Any) -> Any:
    """An encoder that has shapes and no weights."""
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(config, **NO_CODE)


def load_tokenizer(source: Source, token: str | None) -> Any:
    """The tokenizer that belongs to a model."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(local_name(source), revision=source.revision, token=token, **NO_CODE)


def blank_classifier(source: Source, labels: list[str], token: str | None) -> Any:
    """A classifier of the shape of ``source`` with random weights, for timing: only its configuration is read."""
    import torch
    from transformers import AutoModelForSequenceClassification

    config = load_config(source, token)
    config.num_labels = len(labels)
    _name_padding(config, source, token)
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, **NO_CODE)


def new_classifier(
    source: Source,
    labels: list[str],
    seed: int,
    token: str | None,
    truncation: Truncation = "head",
    max_length: int = MAX_LENGTH,
) -> Any:
    """The encoder of ``source`` in float32 under a newly drawn head; labels and cut of texts in its configuration.

    The head is drawn even where the checkpoint's has the right shape: a two-class task would else inherit an NLI
    head (entailment / not). float32 whatever the checkpoint stores: half-precision weights lose small updates.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    name = local_name(source)
    where = {"revision": source.revision, "token": token, **NO_CODE}
    config = AutoConfig.from_pretrained(
        name,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type="single_label_classification",
        **where,
    )
    config.raypipe_truncation, config.raypipe_max_length = truncation, max_length
    _name_padding(config, source, token)
    set_seed(seed)
    fresh = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, **NO_CODE)
    head = {k: v for k, v in fresh.state_dict().items() if not k.startswith(f"{fresh.base_model_prefix}.")}
    with _without_report():
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            output_loading_info=True,
            **where,
        )
    lacking = sorted(set(loading["missing_keys"]) - set(head))
    if lacking:
        say(f"warning: {source} lacks {len(lacking)} tensors of its encoder, {lacking[0]} first: they start at random")
    model.load_state_dict(head, strict=False)
    set_seed(seed)
    return model


@contextlib.contextmanager
def _without_report() -> Iterator[None]:
    """Without transformers' report of a new head, which is what was asked for."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


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
        **NO_CODE,
    )
    missing = [key for key in loading["missing_keys"] if not key.startswith(f"{model.base_model_prefix}.")]
    if missing:
        raise ConfigError(
            f"{source} has no classification head ({missing[0]} is missing)",
            "a fine-tuned classifier",
            "train it first",
        )
    _name_padding(model.config, source, token)
    return model.eval()


def _name_padding(config: Any, source: Source, token: str | None) -> None:
    """Give a configuration without a padding token its tokenizer's: decoders refuse batches without one."""
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = load_tokenizer(source, token).pad_token_id


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


def most_tokens(config: Any, max_length: int | None) -> int:
    """The tokens of a text that a model of this configuration reads: ``max_length``, or as many as it has positions.

    Without ``max_length`` as many as in the model's training.
    """
    max_length = max_length or _trained_length(config)
    positions = getattr(config, "max_position_embeddings", None) or 0
    if getattr(config, "relative_attention", False) or positions <= 0:
        return max_length
    unused = (config.pad_token_id or 0) + 1 if config.model_type in _AFTER_PADDING else 0
    return min(max_length, positions - unused)


def _trained_length(config: Any) -> int:
    kept = getattr(config, "raypipe_max_length", None)
    return kept if isinstance(kept, int) and MIN_LENGTH <= kept <= MAX_LENGTH else MAX_LENGTH


def truncation_of(config: Any) -> Truncation:
    """How the texts of a model were cut in its training; the head was kept where it does not say."""
    return "head_tail" if getattr(config, "raypipe_truncation", "head") == "head_tail" else "head"


def encode(
    tokenizer: Any, texts: list[str], max_length: int, truncation: Truncation = "head"
) -> tuple[list[list[int]], list[int]]:
    """Token ids of each text in at most ``max_length`` tokens, and how many tokens were cut off.

    ``head`` keeps the first tokens; ``head_tail`` the first quarter and the last three quarters of the room, as Sun
    et al. 2019, "How to fine-tune BERT for text classification?" (128 and 382 of 510). Special tokens stay.
    """
    if not texts:
        return [], []
    encoded = tokenizer(
        texts,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_special_tokens_mask=True,
        verbose=False,
    )
    ids, cut = [], []
    for row, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        over = max(0, len(row) - max_length)
        if over:
            before, after = special.index(0), special[::-1].index(0)  # special tokens at both ends
            room = max_length - before - after
            start = before + (room if truncation == "head" else -(-room // HEAD_SHARE))
            row = row[:start] + row[start + over :]
        ids.append(row)
        cut.append(over)
    return ids, cut


def encode_table(tokenizer: Any, texts: list[str], max_length: int, truncation: Truncation, **columns: Any) -> pa.Table:
    """The same as an Arrow table with the columns input_ids and cut (tokens cut off), beside the given ones."""
    ids, cut = encode(tokenizer, texts, max_length, truncation)
    return pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32())), "cut": pa.array(cut, pa.int64()), **columns})
