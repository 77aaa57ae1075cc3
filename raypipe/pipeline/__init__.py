"""The verbs of raypipe. Each takes one configuration and hands back a StageResult.

from raypipe import PrepareConfig, pipeline
pipeline.prepare(PrepareConfig(input_dir="in", input_filename="raw.jsonl", output_filename="out/data.jsonl"))
"""

from raypipe.pipeline.auditing import audit
from raypipe.pipeline.evaluating import evaluate
from raypipe.pipeline.predicting import predict
from raypipe.pipeline.preparing import prepare
from raypipe.pipeline.sweeping import sweep
from raypipe.pipeline.training import train
from raypipe.pipeline.whole import run

__all__ = ["audit", "evaluate", "predict", "prepare", "run", "sweep", "train"]
