"""A training without Ray, to compare others with."""

import pyarrow as pa

from raypipe import splits
from raypipe.hub import Source
from raypipe.tokens import Secret
from raypipe.train import finetune, loop, modeling
from raypipe.train.job import TrainJob
from raypipe.train.recipe import Recipe


def alone(config, folder, threads=1):
    """The training of a configuration by one worker, without checkpoints; its outputs are in ``folder``/out."""
    data = splits.load(config.input_hf_dataset, "text", "label", None)
    source = Source(config.model_for_training_finetune)
    tokenizer = modeling.load_tokenizer(source, None)
    tables = []
    for frame in finetune.hold_out(data.train, data.labels, config):
        labels = pa.array([data.labels.index(label) for label in frame["label"]])
        tables.append(modeling.encode_table(tokenizer, frame["text"].to_list(), 512, "head", label=labels))
    balanced = config.class_weights == "balanced"
    job = TrainJob(
        source, data.labels, Recipe(config.learning_rate, config.epochs, 16), config.seed, True, "fp32", threads, None,
        None, Secret(None), Secret(None), "alone", {}, 4096, "head", 512, balanced, 9.0, "auto", 1,
    )  # fmt: skip
    (folder / "out").mkdir(parents=True)
    return loop.fine_tune(job, *tables, str(folder / "out"), str(folder / "scratch"))
