"""The model that training starts from: a fresh head, float32 masters, labels in its configuration."""

import json
import shutil

import numpy as np
import pytest
import torch

from raypipe import ConfigError
from raypipe.config import TrainConfig
from raypipe.hub import Source
from raypipe.train import modeling
from raypipe.train.recipe import recipe_for


def test_two_class_task_drops_the_inherited_head(tiny_model):
    from transformers import AutoModelForSequenceClassification

    old = AutoModelForSequenceClassification.from_pretrained(tiny_model)
    new = modeling.new_classifier(Source(tiny_model), ["no", "yes"], seed=1, token=None)
    assert new.config.id2label == {0: "no", 1: "yes"} and new.config.label2id == {"no": 0, "yes": 1}
    assert new.classifier.weight.shape == old.classifier.weight.shape, "the shape alone would not have told"
    assert not torch.equal(new.classifier.weight, old.classifier.weight)
    assert torch.equal(new.bert.encoder.layer[0].output.dense.weight, old.bert.encoder.layer[0].output.dense.weight)
    again = modeling.new_classifier(Source(tiny_model), ["no", "yes"], seed=1, token=None)
    other = modeling.new_classifier(Source(tiny_model), ["no", "yes"], seed=2, token=None)
    assert torch.equal(new.classifier.weight, again.classifier.weight)
    assert not torch.equal(new.classifier.weight, other.classifier.weight)


def test_a_model_without_its_tokenizer_is_refused(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "bare", ignore=shutil.ignore_patterns("token*", "vocab*", "special*"))
    with pytest.raises(ConfigError, match="has no tokenizer"):
        modeling.require_tokenizer(Source(str(tmp_path / "bare")), None)
    (tmp_path / "bare/tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match=r"the tokenizer of .* cannot be loaded"):
        modeling.require_tokenizer(Source(str(tmp_path / "bare")), None)
    modeling.require_tokenizer(Source(tiny_model), None)


@pytest.fixture
def decoder(tiny_model, tmp_path):
    """A decoder as they are published: no padding token in its configuration."""
    from transformers import Qwen2Config, Qwen2ForSequenceClassification

    tokenizer = modeling.load_tokenizer(Source(tiny_model), None)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes)
    Qwen2ForSequenceClassification(config).save_pretrained(tmp_path / "decoder")
    tokenizer.save_pretrained(tmp_path / "decoder")
    return str(tmp_path / "decoder")


def test_a_decoder_is_told_its_padding_and_keeps_it(decoder, tmp_path):
    from raypipe.evaluate.forward import Forward

    source = Source(decoder)
    assert modeling.load_config(source, None).pad_token_id is None
    modeling.require_tokenizer(source, None)
    tokenizer = modeling.load_tokenizer(source, None)
    model = modeling.new_classifier(source, ["a", "b", "c"], seed=1, token=None).eval()
    rows = tokenizer(["one word", "many more words than that"], padding=True, return_tensors="pt")
    alone = [tokenizer(text, return_tensors="pt") for text in ("one word", "many more words than that")]
    with torch.inference_mode():
        together = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits
        apart = torch.cat([model(input_ids=one["input_ids"]).logits for one in alone])
        blank = modeling.blank_classifier(source, ["a", "b"], None)
        assert blank(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits.shape == (2, 2)
    assert torch.allclose(together, apart, atol=1e-5)
    model.save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    for folder, classes in (("trained", 3), ("decoder", 2)):  # one of ours, and one that others have published
        ids = np.concatenate([one["input_ids"][0].numpy() for one in alone])
        lengths = np.array([one["input_ids"].shape[1] for one in alone])
        forward = Forward(Source(str(tmp_path / folder)), None, "fp32", False, 1, 1_000)
        best = forward(ids, np.cumsum(lengths) - lengths, lengths, np.array([0, 1]), classes)
        assert best.scores.shape == (2, classes)
        if folder == "trained":
            expected = together.double().softmax(-1).sort(descending=True).values.numpy()
            assert np.abs(best.scores - expected).max() < 1e-5


def test_a_tokenizer_that_cannot_pad_is_refused(decoder):
    tokenizer = modeling.load_tokenizer(Source(decoder), None)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(decoder)
    with pytest.raises(ConfigError, match=r"has no padding token.*Remedy: an encoder such as"):
        modeling.require_tokenizer(Source(decoder), None)
    modeling.require_tokenizer(Source(decoder), None, padding=7)


def test_a_model_of_other_things_than_text_is_refused(tiny_model, tmp_path):
    from transformers import CLIPConfig, WhisperConfig

    for config in (CLIPConfig(), WhisperConfig()):
        config.save_pretrained(tmp_path)
        with pytest.raises(ConfigError, match=f"is a {config.model_type}"):
            modeling.require_encoder(modeling.load_config(Source(str(tmp_path)), None), Source(str(tmp_path)))
    modeling.require_encoder(modeling.load_config(Source(tiny_model), None), Source(tiny_model))


def test_a_new_head_is_no_news_and_a_lacking_tensor_of_the_encoder_is(tiny_model, tmp_path, capfd):
    from safetensors.torch import load_file, save_file

    modeling.new_classifier(Source(tiny_model), ["a", "b", "c"], seed=1, token=None)
    assert capfd.readouterr() == ("", "")
    shutil.copytree(tiny_model, tmp_path / "lacking")
    weights = load_file(tmp_path / "lacking/model.safetensors")
    name = next(name for name in weights if "attention" in name)
    del weights[name]
    save_file(weights, tmp_path / "lacking/model.safetensors", metadata={"format": "pt"})
    modeling.new_classifier(Source(str(tmp_path / "lacking")), ["a", "b", "c"], seed=1, token=None)
    assert f"lacks 1 tensors of its encoder, {name} first" in capfd.readouterr().err


def test_half_precision_checkpoints_train_in_float32(tiny_model, tmp_path):
    from transformers import AutoModelForSequenceClassification

    shutil.copytree(tiny_model, tmp_path / "half")
    AutoModelForSequenceClassification.from_pretrained(tiny_model, dtype=torch.float16).save_pretrained(
        tmp_path / "half"
    )
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "float16"
    model = modeling.new_classifier(Source(str(tmp_path / "half")), ["a", "b", "c"], seed=0, token=None)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_encode_cuts_and_says_so(tiny_model):
    tokenizer = modeling.load_tokenizer(Source(tiny_model), None)
    ids, cut = modeling.encode(tokenizer, ["short", "word " * 40, ""], max_length=16)
    assert [len(row) for row in ids] == [3, 16, 2] and cut == [0, 26, 0]


def test_head_is_the_tokenizers_own_truncation_and_head_tail_that_of_sun_et_al(tiny_model):
    tokenizer = modeling.load_tokenizer(Source(tiny_model), None)
    texts = [" ".join(str(n) for n in range(count)) for count in (3, 14, 15, 700)] + ["[SEP] " * 30]
    for max_length in (8, 16, 512):
        ids, cut = modeling.encode(tokenizer, texts, max_length)
        assert ids == tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        tails, same = modeling.encode(tokenizer, texts, max_length, "head_tail")
        assert same == cut
        for text, row in zip(texts, tails, strict=True):
            words = tokenizer(text, add_special_tokens=False)["input_ids"]
            room = max_length - 2
            if len(words) > room:
                head = -(-room // 4)
                words = words[:head] + words[len(words) - (room - head) :]
            assert row == [tokenizer.cls_token_id, *words, tokenizer.sep_token_id]
    tails, _ = modeling.encode(tokenizer, texts, 512, "head_tail")
    everything = tokenizer(texts[3], add_special_tokens=False)["input_ids"]
    assert tails[3][1:-1] == everything[:128] + everything[-382:], "510 as in the paper"


def test_parameters_are_counted_without_weights(tiny_model):
    from transformers import AutoModel

    config = modeling.load_config(Source(tiny_model), None)
    assert modeling.parameters(config) == sum(p.numel() for p in AutoModel.from_pretrained(tiny_model).parameters())


@pytest.mark.parametrize(
    ("nodes", "workers", "each"),
    [([2], 1, 2), ([2], 2, 1), ([8, 8], 3, 4), ([2, 64], 1, 64), ([2, 64], 4, 16), ([1], 1, 1), ([0, 4], 2, 2)],
)
def test_cpu_workers_take_what_fits_without_crossing_machines(nodes, workers, each):
    from raypipe.train.finetune import cpus_each

    assert cpus_each(nodes, workers) == each


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no model that transformers reads"):
        modeling.load_config(Source(str(tmp_path)), None)


@pytest.mark.parametrize(
    ("parameters", "rate", "epochs"), [(22e6, 2e-4, 5.0), (66e6, 2e-5, 2.0), (184e6, 2e-5, 2.0), (435e6, 9e-6, 2.0)]
)
def test_the_recipe_follows_the_size_unless_a_flag_says_otherwise(parameters, rate, epochs):
    recipe = recipe_for(parameters, TrainConfig(input_hf_dataset="x/y"))
    assert (recipe.learning_rate, recipe.epochs, recipe.warmup, recipe.weight_decay) == (rate, epochs, 0.06, 0.01)
    chosen = recipe_for(parameters, TrainConfig(input_hf_dataset="x/y", learning_rate=3e-4, epochs=1.5))
    assert (chosen.learning_rate, chosen.epochs) == (3e-4, 1.5)


@pytest.mark.parametrize(
    ("kind", "flags", "most"),
    [
        ("bert", {"max_position_embeddings": 128}, 128),
        ("bert", {"max_position_embeddings": 1024}, 512),
        ("roberta", {"max_position_embeddings": 130, "pad_token_id": 1}, 128),
        ("xlm-roberta", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("deberta-v2", {"max_position_embeddings": 128, "relative_attention": True}, 512),
        ("xlnet", {}, 512),
    ],
)
def test_no_text_is_longer_than_the_model_reads(kind, flags, most):
    from transformers import AutoConfig

    assert modeling.most_tokens(AutoConfig.for_model(kind, **flags), 512) == most
