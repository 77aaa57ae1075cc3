"""Refusals at the door, the configuration's hash, and TOML under flags."""

import contextlib
import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import pytest

from raypipe import config, toml
from raypipe.cli import COMMANDS, parse
from raypipe.config import (
    RUN_CONTROL,
    AuditConfig,
    CommonConfig,
    DemoConfig,
    DoctorConfig,
    EvaluateConfig,
    PredictConfig,
    PrepareConfig,
    RunConfig,
    SweepConfig,
    TrainConfig,
    nearest,
    of_type,
)
from raypipe.errors import ConfigError

TABLES = ", ".join(toml.TABLES)
ROOT = Path(__file__).parents[1]
NAN, INF = float("nan"), float("inf")
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123456789"

# The least that each configuration asks for.
LEAST: dict[type[CommonConfig], dict[str, Any]] = {
    PrepareConfig: {"input_dir": "in", "input_filename": "a.jsonl", "output_filename": "out/a.jsonl"},
    TrainConfig: {"input_hf_dataset": "user/data"},
    EvaluateConfig: {"model": "m", "input_hf_dataset": "user/data", "output_classify_file": "p.jsonl"},
    PredictConfig: {"model": "m"},
    AuditConfig: {"input_hf_dataset": "user/data", "output_filename": "out/a.jsonl"},
    SweepConfig: {"input_hf_dataset": "user/data", "learning_rates": (1e-5, 1e-4)},
    RunConfig: {"config": "a.toml"},
    DemoConfig: {},
    DoctorConfig: {},
}
PREPARE_FLAGS = ["-i", "in", "-f", "a.jsonl", "-o", "out/a.jsonl"]

REFUSED = [
    (
        SweepConfig,
        {"learning_rates": ()},
        "not exactly one of --learning-rates and --learning-rate-range",
        "one of them",
    ),
    (
        SweepConfig,
        {"learning_rate_range": (1e-5, 1e-4)},
        "not exactly one of --learning-rates and --learning-rate-range",
        "one of them",
    ),
    (SweepConfig, {"learning_rates": (2.0,)}, "a learning rate of 2.0", "a number between 0 and 1"),
    (
        SweepConfig,
        {"learning_rates": (), "learning_rate_range": (1e-3, 1e-4)},
        "--learning-rate-range 0.001 0.0001",
        "the lower rate first",
    ),
    (SweepConfig, {"learning_rate": 1e-4}, "--learning-rate in a sweep", "train's flags but this one"),
    (SweepConfig, {"hf_model_name": "me/m"}, "--hf-model-name in a sweep", "train's flags but this one"),
    (SweepConfig, {"train": False}, "--no-train or --examples in a sweep", "a training"),
    (SweepConfig, {"wandb_output": "w.html"}, "--wandb-output in a sweep", "sweep.html has the curves"),
    (SweepConfig, {"try_epochs": (0.0,)}, "--try-epochs 0.0", "more than 0"),
    (SweepConfig, {"try_token_budgets": (100,)}, "--try-token-budgets 100", "at least --max-length 512"),
    (SweepConfig, {"max_concurrent": "many"}, "--max-concurrent many", "auto, or a whole number of at least 1"),
    (SweepConfig, {"evaluations_per_epoch": 0}, "--evaluations-per-epoch 0", "at least 1"),
    (SweepConfig, {"time_budget_minutes": 0.0}, "--time-budget-minutes 0.0", "more than 0"),
    (DoctorConfig, {"seed": -1}, "--seed -1", "a whole number from 0 to 4294967295"),
    (DoctorConfig, {"num_cpus": 0}, "--num-cpus 0", "at least 1"),
    (DoctorConfig, {"wait_for_resources": -1.0}, "--wait-for-resources -1.0", "at least 0"),
    (DoctorConfig, {"wait_for_resources": NAN}, "--wait-for-resources nan", "at least 0"),
    (DoctorConfig, {"overwrite": True, "resume": True}, "--overwrite and --resume together", "one of them"),
    (PrepareConfig, {"output_filename": "x.csv"}, "--output-filename 'x.csv'", "a name that ends in .jsonl"),
    (PrepareConfig, {"text": "a", "subject": "a"}, "--text and --subject both 'a'", "two columns"),
    (PrepareConfig, {"reduce_majority_to": 0.0}, "--reduce-majority-to 0.0", "a number > 0 and <= 1"),
    (PrepareConfig, {"reduce_majority_to": 1.01}, "--reduce-majority-to 1.01", "a number > 0 and <= 1"),
    (PrepareConfig, {"reduce_majority_to": NAN}, "--reduce-majority-to nan", "a number > 0 and <= 1"),
    (PrepareConfig, {"similarity_threshold": 0.0}, "--similarity-threshold 0.0", "a number > 0 and <= 1"),
    (PrepareConfig, {"similarity_threshold": 1.01}, "--similarity-threshold 1.01", "a number > 0 and <= 1"),
    (PrepareConfig, {"similarity_threshold": NAN}, "--similarity-threshold nan", "a number > 0 and <= 1"),
    (PrepareConfig, {"test_fraction": 0.0}, "--test-fraction 0.0", "a number > 0 and < 1"),
    (PrepareConfig, {"test_fraction": 1.0}, "--test-fraction 1.0", "a number > 0 and < 1"),
    (PrepareConfig, {"max_bad_fraction": -0.1}, "--max-bad-fraction -0.1", "0 to 1"),
    (PrepareConfig, {"max_bad_fraction": 1.1}, "--max-bad-fraction 1.1", "0 to 1"),
    (PrepareConfig, {"max_class_ratio": 0.9}, "--max-class-ratio 0.9", "at least 1"),
    (PrepareConfig, {"max_class_ratio": INF}, "--max-class-ratio inf", "at least 1"),
    (PrepareConfig, {"min_class_rows": 0}, "--min-class-rows 0", "at least 1"),
    (PrepareConfig, {"block_rows": 0}, "--block-rows 0", "at least 1"),
    (PrepareConfig, {"explore_max_pairs": 0}, "--explore-max-pairs 0", "at least 1"),
    (PrepareConfig, {"explore": True, "target_hf_dataset": "a/b"}, "--explore with --target-hf-dataset", "one of them"),
    (PrepareConfig, {"ngram_range": (0, 1)}, "--ngram-range 0 1", "1 <= MIN <= MAX"),
    (PrepareConfig, {"ngram_range": (3, 2)}, "--ngram-range 3 2", "1 <= MIN <= MAX"),
    (
        PrepareConfig,
        {"token_pattern": r"\w", "analyzer": "char_wb"},
        "--token-pattern with --analyzer char_wb",
        "the word analyzer",
    ),
    (
        PrepareConfig,
        {"token_pattern": r"(\w)(\w)"},
        r"--token-pattern '(\\w)(\\w)'",
        "a regular expression with at most one group",
    ),
    (PrepareConfig, {"token_pattern": "("}, "--token-pattern '('", "a regular expression"),
    (PredictConfig, {"max_length": 7}, "--max-length 7", "8 to 512"),
    (PredictConfig, {"max_length": 513}, "--max-length 513", "8 to 512"),
    (PredictConfig, {"eval_batch_size": 0}, "--eval-batch-size 0", "at least 1"),
    (PredictConfig, {"top_k": 0}, "--top-k 0", "at least 1"),
    (PredictConfig, {"cumulative_score": 0.0}, "--cumulative-score 0.0", "a number > 0 and <= 1"),
    (PredictConfig, {"cumulative_score": 1.1}, "--cumulative-score 1.1", "a number > 0 and <= 1"),
    (PredictConfig, {"output": "p.csv"}, "--output 'p.csv'", "a name that ends in .jsonl"),
    (TrainConfig, {"examples": True}, "--examples", "--input-dir and --filename with it"),
    (TrainConfig, {"examples": True, "input_dir": "d"}, "--examples", "--input-dir and --filename with it"),
    (TrainConfig, {"input_hf_dataset": None}, "no --input-hf-dataset", "a repository or a folder"),
    (TrainConfig, {"text": "a", "subject_column": "a"}, "--text and --subject-column both 'a'", "two columns"),
    (TrainConfig, {"epochs": 0.0}, "--epochs 0.0", "more than 0"),
    (TrainConfig, {"epochs": INF}, "--epochs inf", "more than 0"),
    (TrainConfig, {"epochs": NAN}, "--epochs nan", "more than 0"),
    (TrainConfig, {"learning_rate": 0.0}, "--learning-rate 0.0", "a number between 0 and 1"),
    (TrainConfig, {"learning_rate": 1.0}, "--learning-rate 1.0", "a number between 0 and 1"),
    (TrainConfig, {"batch_size": 0}, "--batch-size 0", "at least 1"),
    (TrainConfig, {"num_workers": 0}, "--num-workers 0", "a whole number of at least 1"),
    (TrainConfig, {"num_workers": "4:1"}, "--num-workers 4:1", "a whole number of at least 1, or MIN:MAX"),
    (TrainConfig, {"num_workers": "0:2"}, "--num-workers 0:2", "a whole number of at least 1, or MIN:MAX"),
    (TrainConfig, {"num_workers": "many"}, "--num-workers many", "a whole number of at least 1"),
    (TrainConfig, {"validation_fraction": 0.0}, "--validation-fraction 0.0", "a number > 0 and < 1"),
    (TrainConfig, {"validation_fraction": 1.0}, "--validation-fraction 1.0", "a number > 0 and < 1"),
    (TrainConfig, {"max_cpu_hours": 0.0}, "--max-cpu-hours 0.0", "more than 0"),
    (TrainConfig, {"early_stopping_patience": 0}, "--early-stopping-patience 0", "at least 1"),
    (TrainConfig, {"max_length": 4}, "--max-length 4", "8 to 512"),
    (TrainConfig, {"token_budget": 511}, "--token-budget 511 with --max-length 512", "at least --max-length"),
    (TrainConfig, {"max_failures": -1}, "--max-failures -1", "at least 0"),
    (TrainConfig, {"checkpoint_minutes": -1.0}, "--checkpoint-minutes -1.0", "at least 0"),
    (
        EvaluateConfig,
        {"input_hf_dataset": None},
        "not exactly one source of rows",
        "--input-hf-dataset, or --input-dir",
    ),
    (
        EvaluateConfig,
        {"input_dir": "d", "filename": "f"},
        "not exactly one source of rows",
        "--input-hf-dataset, or --input-dir",
    ),
    (
        EvaluateConfig,
        {"input_hf_dataset": None, "input_dir": "d"},
        "not exactly one source of rows",
        "--input-hf-dataset, or --input-dir",
    ),
    (EvaluateConfig, {"label_map": "m.csv"}, "--label-map with --input-hf-dataset", "local files for it"),
    (EvaluateConfig, {"text": "a", "subject_column": "a"}, "--text and --subject-column both 'a'", "two columns"),
    (
        EvaluateConfig,
        {"output_classify_file": "p.json"},
        "--output-classify-file 'p.json'",
        "a name that ends in .jsonl",
    ),
    (AuditConfig, {"input_dir": "d", "filename": "f"}, "not exactly one source of rows", "--input-hf-dataset, or"),
    (
        AuditConfig,
        {"input_hf_dataset": None, "input_dir": "d", "filename": "f", "split": "test"},
        "--split test without --input-hf-dataset",
        "a dataset with splits",
    ),
    (AuditConfig, {"folds": 1}, "--folds 1", "at least 2"),
    (AuditConfig, {"near_copy_threshold": 0.0}, "--near-copy-threshold 0.0", "a number > 0 and <= 1"),
    (AuditConfig, {"top_share": 1.1}, "--top-share 1.1", "a number > 0 and <= 1"),
    (AuditConfig, {"output_filename": "x"}, "--output-filename 'x'", "a name that ends in .jsonl"),
    (RunConfig, {"config": None}, "no --config", "a TOML file with [prepare] and [train]"),
    (DemoConfig, {"rows": 499}, "--rows 499", "500 to 100000"),
    (DemoConfig, {"rows": 100_001}, "--rows 100001", "500 to 100000"),
    (DemoConfig, {"epochs": 0.0}, "--epochs 0.0", "more than 0, at most 100"),
    (DemoConfig, {"epochs": 101.0}, "--epochs 101.0", "more than 0, at most 100"),
]

ACCEPTED = [
    *((kind, {}) for kind in LEAST),
    (DoctorConfig, {"seed": 0, "num_cpus": 1, "wait_for_resources": 0.5}),
    (PrepareConfig, {"reduce_majority_to": 1.0, "similarity_threshold": 1.0, "max_class_ratio": 1.0}),
    (PrepareConfig, {"max_bad_fraction": 0.0, "ngram_range": (2, 2), "block_rows": 1}),
    (PrepareConfig, {"max_bad_fraction": 1.0, "token_pattern": r"(\w)\w*", "analyzer": "word"}),
    (TrainConfig, {"num_workers": "4", "epochs": 0.5, "early_stopping_patience": 1, "max_length": 8}),
    (TrainConfig, {"num_workers": "1:4", "attention": "fused"}),
    (TrainConfig, {"input_hf_dataset": None, "examples": True, "input_dir": "d", "filename": "f"}),
    (SweepConfig, {"learning_rates": (), "learning_rate_range": (1e-5, 1e-3), "num_samples": 1, "max_concurrent": 2}),
    (SweepConfig, {"try_epochs": (1.0, 2.5), "try_token_budgets": (512,), "try_models": ("a", "b")}),
    (EvaluateConfig, {"input_hf_dataset": None, "input_dir": "d", "filename": "f", "cumulative_score": 1.0}),
    (PredictConfig, {"output": "p.jsonl", "max_length": 512, "top_k": 1, "eval_batch_size": 1}),
    (DemoConfig, {"rows": 500, "epochs": 100.0}),
]


def make(kind: type[CommonConfig], **values: Any) -> Any:
    return kind(**LEAST[kind] | values)


def write(folder: Path, text: str) -> str:
    path = folder / "a.toml"
    path.write_text(text, encoding="utf8")
    return str(path)


def refusal(call: Any, *arguments: Any, **named: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **named)
    return caught.value


@pytest.mark.parametrize(("kind", "values", "got", "expected"), REFUSED)
def test_refusals_say_what_was_got_and_what_was_expected(
    kind: type[CommonConfig], values: dict[str, Any], got: str, expected: str
) -> None:
    error = refusal(make(kind, **values).validate)
    assert error.exit_code == 2
    assert error.args[0] == got
    assert error.args[1].startswith(expected)
    assert str(error).startswith(f"{got}; expected {expected}")


@pytest.mark.parametrize(("kind", "values"), ACCEPTED)
def test_the_edges_of_what_is_allowed_are_allowed(kind: type[CommonConfig], values: dict[str, Any]) -> None:
    config = make(kind, **values)
    config.validate()
    assert {name: getattr(config, name) for name in values} == values


def test_remedies_are_in_the_message() -> None:
    assert str(refusal(make(PrepareConfig, output_filename="x").validate)).endswith("Remedy: -o x.jsonl")
    assert str(refusal(make(DoctorConfig, overwrite=True, resume=True).validate)).endswith("Remedy: drop one")


def other_value(kind: type[CommonConfig], name: str, value: Any) -> Any:
    """A value of the field's type that differs."""
    annotation = typing.get_type_hints(kind)[name]
    choices = [choice for choice in typing.get_args(annotation) if isinstance(choice, str)]  # of a Literal
    for candidate in (*choices, True, False, 7, 0.5, "other", (1, 2), (0.1, 0.2), ("more",)):
        with contextlib.suppress(ConfigError):
            if (held := of_type(candidate, annotation, name)) != value:
                return held
    raise AssertionError(f"no other value for {name}")


@pytest.mark.parametrize("kind", LEAST)
def test_the_hash_follows_each_deciding_field_and_no_other(kind: type[CommonConfig]) -> None:
    config = make(kind)
    assert len(config.hash()) == 16 and int(config.hash(), 16) >= 0
    assert config.hash() == make(kind).hash()
    for field in dataclasses.fields(kind):
        changed = dataclasses.replace(
            config, **{field.name: other_value(kind, field.name, getattr(config, field.name))}
        )
        ignored = field.name in RUN_CONTROL or field.metadata.get("secret", False)
        assert (changed.hash() == config.hash()) == ignored, field.name


def test_the_fields_that_the_hash_ignores_are_those_of_where_and_how() -> None:
    common = {field.name for field in dataclasses.fields(CommonConfig)}
    where = {"output_filename", "output_dir", "output_classify_file", "output", "run_dir", "target_hf_dataset"}
    push = {"hf_model_name", "wandb_output", "yes_publish"}
    keeping = {"checkpoint_minutes", "max_failures", "max_concurrent", "max_cpu_hours"}
    estimates = {"dry_run", "price_per_gpu_hour", "assume_gpu"}
    assert (common - {"seed"}) | where | push | {"block_rows", "explore_max_pairs"} | keeping | estimates == RUN_CONTROL


@pytest.mark.parametrize("kind", [PrepareConfig, TrainConfig, EvaluateConfig, PredictConfig, AuditConfig])
def test_no_secret_is_shown(kind: type[CommonConfig]) -> None:
    secrets = {f.name: TOKEN for f in dataclasses.fields(kind) if f.name.endswith("_access_token")}
    assert "hf_access_token" in secrets
    config = make(kind, **secrets)
    assert TOKEN not in repr(config) + str(config) + json.dumps(config.public())
    assert not secrets.keys() & config.public().keys()
    assert config.hash() == make(kind).hash()


def test_public_is_json_and_complete() -> None:
    config = make(PrepareConfig, labels_to_filter=("a", "b"), ngram_range=(1, 2))
    public = json.loads(json.dumps(config.public()))
    assert public["labels_to_filter"] == ["a", "b"] and public["ngram_range"] == [1, 2]
    assert set(public) == {f.name for f in dataclasses.fields(PrepareConfig)} - {"hf_access_token"}


def test_nearest_names_what_is_near() -> None:
    assert nearest("subjct", ["text", "subject"]) == "did you mean 'subject'?"
    assert nearest("zzz", ["text", "subject"]) == ""


@pytest.mark.parametrize(
    ("text", "got", "expected", "remedy"),
    [
        (
            "[prepare]\nsimilarity_treshold = 0.9",
            "[prepare] similarity_treshold",
            "a flag's name with underscores",
            "did you mean 'similarity_threshold'?",
        ),
        ("[prepare]\nzzzzz = 1", "[prepare] zzzzz", "a flag's name with underscores", ""),
        ("[prepare]\nepochs = 3", "[prepare] epochs", "a flag's name with underscores", ""),
        ("[preprae]\nseed = 1", "[preprae]", f"the tables {TABLES}", "did you mean 'prepare'?"),
        ("zzzzz = 1", "[zzzzz]", f"the tables {TABLES}", ""),
        ("[prepare]\nseed = '1'", '[prepare] seed = "1"', "a valid integer", ""),
        ("[prepare]\nseed = 1.0", "[prepare] seed = 1.0", "a valid integer", ""),
        ("[prepare]\nseed = true", "[prepare] seed = true", "a valid integer", ""),
        ("[prepare]\ntext = 1", "[prepare] text = 1", "a valid string", ""),
        ("[prepare]\nsimilarity_threshold = '0.9'", 'similarity_threshold = "0.9"', "a valid number", ""),
        ("[prepare]\noverwrite = 1", "[prepare] overwrite = 1", "a valid boolean", ""),
        ("[prepare]\nlabels_to_filter = 'a'", 'labels_to_filter = "a"', "", ""),
        ("[prepare]\nlabels_to_filter = [1]", "labels_to_filter = [1]", "a valid string", ""),
        ("[prepare]\nngram_range = [1, 2, 3]", "ngram_range = [1, 2, 3]", "", ""),
        ("[prepare]\nanalyzer = 'words'", 'analyzer = "words"', "'auto', 'word', 'char' or 'char_wb'", ""),
        ("[prepare.text]\na = 1", '[prepare] text = {"a": 1}', "a valid string", ""),
        ("[prepare]\ntext = 1979-05-27", "[prepare] text = ", "a valid string", ""),
        ("[train]\nnum_workers = 1.5", "[train] num_workers = 1.5", "", ""),
    ],
)
def test_toml_refusals(tmp_path: Path, text: str, got: str, expected: str, remedy: str) -> None:
    path = write(tmp_path, text)
    error = refusal(toml.read, path)
    assert path in error.args[0] and got in error.args[0]
    assert expected in error.args[1] and error.args[1]
    assert error.args[2] == remedy


@pytest.mark.parametrize("text", ["[prepare]\nconfig = 'b.toml'", "prepare = 1", "seed = 1"])
def test_values_out_of_place_are_refused_without_proposing_them(tmp_path: Path, text: str) -> None:
    key = text.split("\n")[-1].split()[0]
    error = refusal(toml.read, write(tmp_path, text))
    assert key in error.args[0]
    assert f"'{key}'" not in error.args[2]


@pytest.mark.parametrize("line", [f"hf_access_token = '{TOKEN}'", f"hf_acess_token = '{TOKEN}'"])
def test_a_token_in_toml_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    error = refusal(toml.read, write(tmp_path, f"[train]\n{line}"))
    assert TOKEN not in str(error)
    assert "a token in a file" in str(error) or "did you mean 'hf_access_token'?" in str(error)


def test_every_secret_is_refused_in_toml(tmp_path: Path) -> None:
    for table, kind in toml.TABLES.items():
        for name in [f.name for f in dataclasses.fields(kind) if f.metadata.get("secret")] if kind else []:
            error = refusal(toml.read, write(tmp_path, f"[{table}]\n{name} = 'env:X'"))
            assert "a token in a file" in error.args[0] and "env:NAME" in error.args[1]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in str(refusal(toml.read, str(tmp_path / "none.toml")))
    assert "cannot be read" in str(refusal(toml.read, str(tmp_path)))
    assert "is not TOML" in str(refusal(toml.read, write(tmp_path, "[prepare\n")))
    (tmp_path / "b.toml").write_bytes(b"[prepare]\ntext = '\xff'\n")
    assert "is not TOML" in str(refusal(toml.read, str(tmp_path / "b.toml")))
    assert "none.toml" in str(refusal(parse, "prepare", [*PREPARE_FLAGS, "--config", str(tmp_path / "none.toml")]))


@pytest.mark.parametrize("path", sorted(ROOT.glob("jobs/configs/*.toml")), ids=lambda path: path.name)
def test_the_configurations_that_come_along_are_valid(path: Path) -> None:
    tables = toml.read(str(path))
    assert tables
    for name in tables:
        kind = toml.TABLES[name]
        assert kind is not None
        given = {"input_hf_dataset": "d"} if kind is TrainConfig else {}
        missing = {k: v for k, v in LEAST[kind].items() if k not in tables[name]}
        toml.configure(kind, tables[name], **given | missing)


def test_flags_win_over_toml_over_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[prepare]\nseed = 7\ntext = 'body'\ntest_fraction = 0.3\ninput_dir = 'other'\noverwrite = true\n"
        "[train]\nseed = 9",
    )
    config = parse("prepare", ["-f", "a.jsonl", "-o", "a.jsonl", "--config", path, "--text", "t", "--no-overwrite"])
    assert (config.text, config.overwrite) == ("t", False)  # flags
    assert (config.seed, config.test_fraction, config.input_dir) == (7, 0.3, "other")  # TOML
    assert (config.subject, config.similarity_threshold) == ("label", 0.9)  # defaults
    assert config.config == path
    assert parse("prepare", [*PREPARE_FLAGS, f"--config={path}", "--seed", "42"]).seed == 42  # a default as a flag
    assert parse("train", ["--input-hf-dataset", "d", "--config", path]).seed == 9  # its own table


def test_lists_become_tuples_as_flags_make_them(tmp_path: Path) -> None:
    path = write(tmp_path, "[prepare]\nlabels_to_filter = ['a', 'b']\nngram_range = [1, 2]")
    from_file = parse("prepare", [*PREPARE_FLAGS, "--config", path])
    from_flags = parse("prepare", [*PREPARE_FLAGS, "--labels-to-filter", "a", "b", "--ngram-range", "1", "2"])
    assert from_file.labels_to_filter == ("a", "b") and from_file.ngram_range == (1, 2)
    assert dataclasses.replace(from_file, config=None) == from_flags
    assert from_file.hash() == from_flags.hash()


def test_a_whole_number_has_the_same_hash_from_toml_and_from_a_flag(tmp_path: Path) -> None:
    path = write(tmp_path, "[prepare]\nsimilarity_threshold = 1")
    from_file = parse("prepare", [*PREPARE_FLAGS, "--config", path])
    from_flags = parse("prepare", [*PREPARE_FLAGS, "--similarity-threshold", "1"])
    assert from_file.similarity_threshold == from_flags.similarity_threshold == 1
    assert from_file.hash() == from_flags.hash()


def test_values_of_toml_are_validated_like_flags(tmp_path: Path) -> None:
    path = write(tmp_path, "[prepare]\nsimilarity_threshold = 1.5")
    assert refusal(parse, "prepare", [*PREPARE_FLAGS, "--config", path]).args[0] == "--similarity-threshold 1.5"
    path = write(tmp_path, "[prepare]\nmax_class_ratio = inf")
    assert refusal(parse, "prepare", [*PREPARE_FLAGS, "--config", path]).args[0] == "--max-class-ratio inf"


def test_of_two_configs_the_one_recorded_is_the_one_used(tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2):
        (tmp_path / f"{seed}.toml").write_text(f"[prepare]\nseed = {seed}")
        paths.append(str(tmp_path / f"{seed}.toml"))
    try:
        config = parse("prepare", [*PREPARE_FLAGS, "--config", paths[0], "--config", paths[1]])
    except (ConfigError, SystemExit):
        return  # refusing two is as good
    assert toml.read(config.config)["prepare"]["seed"] == config.seed


def test_configure_asks_for_what_has_no_default() -> None:
    assert (
        refusal(toml.configure, PrepareConfig, {"input_dir": "d"}).args[0] == "no 'input_filename' in the configuration"
    )
    config = toml.configure(PrepareConfig, LEAST[PrepareConfig] | {"labels_to_filter": ["a"]}, seed=3)
    assert (config.labels_to_filter, config.seed) == (("a",), 3)
    assert refusal(toml.configure, PrepareConfig, LEAST[PrepareConfig] | {"test_fraction": 2.0}).args[0] == (
        "--test-fraction 2.0"
    )


def test_flags_and_aliases_of_the_contract() -> None:
    short = "-i in -f a.jsonl -o out/a.jsonl -t body -s topic -ht env:X -thf user/data"
    long = (
        "--input-dir in --input-filename a.jsonl --output-filename out/a.jsonl --text body --subject topic "
        "--hf-access-token env:X --target-hf-dataset user/data"
    )
    assert parse("prepare", short.split()) == parse("prepare", long.split())
    assert parse("prepare", short.split()).hf_access_token == "env:X"
    words = ["--input-hf-dataset", "d", "--no-train", "--num-workers", "2", "--wandb-access-token", "@f"]
    train = parse("train", words)
    assert (train.train, train.num_workers, train.wandb_access_token) == (False, 2, "@f")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_flag_and_no_secret(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        parse(command, ["--help"])
    shown = capsys.readouterr().out
    assert caught.value.code in (0, None)
    kind = next(k for k in LEAST if k.__name__ == COMMANDS[command].config)
    for field in dataclasses.fields(kind):
        assert f"--{field.name.replace('_', '-')}" in shown
    assert TOKEN not in shown


def test_no_flags_at_all() -> None:
    assert parse("doctor", []) == DoctorConfig()
    assert parse("demo", ["--num-cpus", "1"]).num_cpus == 1


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"run"}))
def test_each_command_reads_the_table_of_its_name_and_no_other(tmp_path: Path, command: str) -> None:
    flags = {
        "prepare": ["-i", "d", "-f", "f.jsonl", "-o", "o.jsonl"],
        "sweep": ["--input-hf-dataset", "d", "--learning-rates", "1e-4"],
        "evaluate": ["--input-hf-dataset", "d", "--model", "m", "--output-classify-file", "o.jsonl"],
        "train": ["--input-hf-dataset", "d"],
        "predict": ["--model", "m"],
        "audit": ["--input-hf-dataset", "d", "--output-filename", "o.jsonl"],
    }.get(command, [])
    tables = "".join(f"[{name}]\nseed = {number}\n" for number, name in enumerate(toml.TABLES))
    path = write(tmp_path, tables)
    assert parse(command, [*flags, "--config", path]).seed == list(toml.TABLES).index(command)
    assert parse(command, [*flags, "--config", path, "--seed", "77"]).seed == 77


def written(field: dataclasses.Field, kind: type[CommonConfig]) -> list[str]:
    """A flag and a value for it, as a command line has them."""
    annotation, flag = typing.get_type_hints(kind)[field.name], f"--{field.name.replace('_', '-')}"
    if annotation is bool:
        return [f"--no-{flag[2:]}" if field.default else flag]
    several = [part for part in typing.get_args(annotation) if typing.get_origin(part) is tuple]
    if typing.get_origin(annotation) is tuple or several:
        inner = typing.get_args(several[0] if several else annotation)
        kinds = inner[:1] if Ellipsis in inner else inner
    else:
        kinds = ([part for part in typing.get_args(annotation) if part is not type(None)] or [annotation])[:1]
    known = {str: "env:HOME" if field.metadata.get("secret") else "a", int: "8192", float: "0.5"}
    return [
        flag,
        *(known.get(part) or str(typing.get_args(part)[0] if typing.get_args(part) else part) for part in kinds),
    ]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (command, field.name)
        for command, told in COMMANDS.items()
        for field in dataclasses.fields(getattr(config, told.config))
        if field.name != "config"
    ],
)
def test_every_flag_can_be_written(command: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """--token-budget once was taken for a secret. What a value may be is for ``validate`` to say."""
    kind = getattr(config, COMMANDS[command].config)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = [
        word
        for f in fields.values()
        if f.default is dataclasses.MISSING and f.name != name
        for word in written(f, kind)
    ]
    with contextlib.suppress(ConfigError):
        made = parse(command, [*needed, *written(fields[name], kind)])
        assert getattr(made, name) != fields[name].default or name in ("precision", "device")
    assert capfd.readouterr() == ("", "")


def test_python_values_become_those_of_the_flags() -> None:
    least = LEAST[PrepareConfig] | {"input_dir": Path("d"), "labels_to_filter": ["a"], "max_class_ratio": 2}
    from_python, from_flags = PrepareConfig(**least), parse("prepare", [*PREPARE_FLAGS, "--max-class-ratio", "2"])
    assert (from_python.input_dir, from_python.labels_to_filter) == ("d", ("a",))
    assert json.dumps(from_python.max_class_ratio) == json.dumps(from_flags.max_class_ratio) == "2.0"


@pytest.mark.parametrize(
    ("name", "value", "got", "expected"),
    [
        ("similarity_threshold", "0.9", "--similarity-threshold '0.9'", "a valid number"),
        ("seed", 1.5, "--seed 1.5", "a valid integer"),
        ("overwrite", 1, "--overwrite 1", "a valid boolean"),
        ("analyzer", "words", "--analyzer 'words'", "'auto', 'word', 'char' or 'char_wb'"),
        ("labels_to_filter", "spam", "--labels-to-filter 'spam'", "a valid tuple"),
        ("hf_access_token", 12345, "--hf-access-token int", "a valid string"),
        ("text", None, "--text None", "a valid string"),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_is_given(name: str, value: Any, got: str, expected: str) -> None:
    error = refusal(PrepareConfig, **LEAST[PrepareConfig] | {name: value})
    assert error.args == (got, expected, "")


@pytest.mark.parametrize(
    ("prepare", "train", "flags", "expected"),
    [
        ("", 'address = "a:1"\nwait_for_resources = 60', {}, ("a:1", None, 60)),
        ("num_cpus = 2", "num_cpus = 2", {}, (None, 2, 0)),
        ("num_cpus = 2\nwait_for_resources = 5", "num_cpus = 3", {"num_cpus": 4}, (None, 4, 5)),
        ("num_cpus = 2", "num_cpus = 3", {}, "num_cpus 2 for prepare and 3 for train in one run"),
    ],
)
def test_the_stages_of_a_run_have_one_ray(tmp_path, prepare, train, flags, expected):
    from raypipe.pipeline import whole

    file = tmp_path / "run.toml"
    file.write_text(
        f'[prepare]\ninput_dir = "in"\ninput_filename = "a.jsonl"\n{prepare}\n'
        f'[train]\nmodel_for_training_finetune = "m"\n{train}\n'
    )
    config = RunConfig(config=str(file), **flags)
    stages = whole._configure(config, str(tmp_path / "run"))
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            whole.one_ray(stages)
    else:
        where = whole.one_ray(stages)
        assert (where["address"], where["num_cpus"], where["wait_for_resources"]) == expected
