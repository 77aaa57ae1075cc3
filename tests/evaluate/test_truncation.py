"""Long texts are cut at inference as they were in training."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import sentences

from raypipe.evaluate.predictor import Predictor
from raypipe.evaluate.tokenising import tokenise
from raypipe.hub import Source
from raypipe.tokens import Secret
from raypipe.train import modeling

ROOM = 14  # of 16 tokens


@pytest.mark.parametrize("truncation", ["head", "head_tail"])
def test_the_predictor_cuts_as_the_model_says(tiny_model, tmp_path, truncation):
    from transformers import AutoTokenizer

    model = modeling.new_classifier(Source(tiny_model), ["a", "b", "c"], 1, None, truncation).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = [" ".join([row["text"]] * (1 + place % 4)) for place, row in enumerate(sentences(20))]
    predictor = Predictor(Source(str(tmp_path)), Secret(None), "fp32", False, 1, 64, 3, None, False)
    none = pa.array([None] * len(texts), pa.string())
    rows = pa.table({"id": [str(n) for n in range(len(texts))], "text": texts, "label": none})
    found = predictor(tokenise(rows, Source(str(tmp_path)), Secret(None), truncation, ROOM + 2))
    cut = []
    for text, scores in zip(texts, found["scores"].to_pylist(), strict=True):
        words = tokenizer(text, add_special_tokens=False)["input_ids"]
        cut.append(len(words) > ROOM)
        if cut[-1]:
            words = words[:ROOM] if truncation == "head" else words[:4] + words[-10:]
        with torch.inference_mode():
            logits = model(torch.tensor([[tokenizer.cls_token_id, *words, tokenizer.sep_token_id]])).logits[0]
        assert scores == pytest.approx(np.sort(logits.softmax(-1).numpy())[::-1], abs=1e-5)
    assert found["cut"].to_pylist() == cut and 0 < sum(cut) < len(cut)


def test_a_model_of_few_positions_cuts_there(tiny_model, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    AutoConfig.from_pretrained(tiny_model, max_position_embeddings=ROOM + 2).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    rows = pa.table({"text": ["word " * 100, "a word"]})
    encoded = tokenise(rows, Source(str(tmp_path)), Secret(None), "few positions", 512)
    assert [len(ids) for ids in encoded["input_ids"].to_pylist()] == [ROOM + 2, 4]
    assert encoded["cut"].to_pylist() == [86, 0]


def test_without_a_flag_texts_are_cut_where_training_cut_them(tiny_model, tmp_path):
    from transformers import AutoConfig, AutoTokenizer

    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    model = modeling.new_classifier(Source(tiny_model), ["a", "b"], 1, None, max_length=ROOM + 2)
    again = modeling.new_classifier(Source(tiny_model), ["a", "b"], 1, None)
    again.save_pretrained(tmp_path / "again")
    assert modeling.most_tokens(AutoConfig.from_pretrained(tmp_path / "again"), None) == 512
    model.save_pretrained(tmp_path)
    rows = pa.table({"text": ["word " * 100]})
    for asked, kept in ((None, ROOM + 2), (8, 8), (64, 64)):
        encoded = tokenise(rows, Source(str(tmp_path)), Secret(None), "a length of its own", asked)
        assert [len(ids) for ids in encoded["input_ids"].to_pylist()] == [kept]
    for wrong in (True, "12", 7, 513, 12.0, None):
        model.config.raypipe_max_length = wrong
        assert modeling.most_tokens(model.config, None) == 512
