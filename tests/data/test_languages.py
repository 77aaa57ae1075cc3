"""Languages without spaces: the automatic analyzer, its border, and its exactness against scikit-learn."""

import random

import pytest
from conftest import read_jsonl
from sklearn.feature_extraction.text import TfidfVectorizer

from raypipe.core import text as core_text

CHINESE = (
    "我想取消昨天晚上预订的酒店房间请问今天天气怎么样帮我播放一首安静的"
    "音乐银行卡丢失了需要马上挂失怎样修改登录密码快递什么时候可以送到"
)
THAI = "ฉันต้องการยกเลิกการจองโรงแรมเมื่อคืนนี้วันนี้อากาศเป็นอย่างไรช่วยเปิดเพลงให้หน่อยบัตรธนาคารของฉันหายไปพัสดุจะมาถึงเมื่อไร"
NOTICE = "--analyzer auto took char_wb n-grams 2 to 3"


def planted(alphabet: str, rows: int, seed: int) -> list[dict[str, str]]:
    """Texts cut from the alphabet, a third of them an earlier one with a small change."""
    rng = random.Random(seed)
    made: list[dict[str, str]] = []
    while len(made) < rows:
        if len(made) > 10 and rng.random() < 0.35:
            base = rng.choice(made)["text"]
            at = rng.randrange(len(base))
            text = base[:at] + rng.choice(["", rng.choice(alphabet), "！", " "]) + base[at + rng.randint(0, 1) :]
        else:
            pieces = [alphabet[i : i + rng.randint(2, 6)] for i in rng.choices(range(len(alphabet) - 6), k=5)]
            text = "".join(pieces)
        made.append({"text": text, "label": rng.choice("ab")})
    return made


def brute_force(rows: list[dict[str, str]], threshold: float) -> tuple[list[int], dict[int, tuple[int, float]]]:
    """Kept rows, and the witness and similarity of each removed row."""
    texts = [row["text"] for row in rows]
    X = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)).fit_transform(texts)
    S = (X @ X.T).toarray()
    kept: list[int] = []
    removed = {}
    for i, text in enumerate(texts):
        same = [k for k in kept if core_text.canonical(texts[k]) == core_text.canonical(text)]
        near = [k for k in kept if S[i, k] >= threshold - 1e-9]
        if same:
            removed[i] = same[0], 1.0
        elif near:
            best = max(near, key=lambda k: (round(S[i, k], 9), -k))
            removed[i] = best, float(S[i, best])
        else:
            kept.append(i)
    return kept, removed


@pytest.mark.parametrize("alphabet", [CHINESE, THAI], ids=["chinese", "thai"])
def test_near_duplicates_equal_brute_force(prepare_rows, capfd, alphabet):
    rows = planted(alphabet, 150, seed=len(alphabet))
    out = prepare_rows(rows, similarity_threshold=0.75, block_rows=40)
    kept, removed = brute_force(rows, 0.75)
    assert sorted(int(r["id"].split(":")[1]) - 1 for r in out["train"] + out["test"]) == kept
    ledger = {int(r["id"].split(":")[1]) - 1: r for r in out["removed"]}
    assert set(ledger) == set(removed) and len(removed) > 20
    for row, (witness, cosine) in removed.items():
        assert ledger[row]["witness_id"] == f"raw.jsonl:{witness + 1}"
        assert ledger[row]["similarity"] == pytest.approx(cosine, abs=1e-6)
    assert any(NOTICE in notice for notice in out["report"]["notices"])
    assert (
        f"notice: more than a tenth of the letters belong to scripts without spaces, so {NOTICE}"
        in capfd.readouterr().err
    )
    train, test = (set(map(str, (r["text"] for r in out[side]))) for side in ("train", "test"))
    assert test and not train & test


def test_the_border_is_a_tenth_of_the_letters_of_the_rows_that_count(prepare_rows, tmp_path, capfd):
    """270 letters with spaces and 30 without: a tenth is not more than a tenth. Digits and signs are no letters."""
    rows = [{"text": f"{'abc' * 10} {i * 7919} !?", "label": "ab"[i % 2]} for i in range(9)]
    rows += [{"text": "你好" + "天" * 28 + "。「」", "label": "b"}]
    rows += [{"text": "天" * 500, "label": "unwanted"}]
    flags = {"labels_to_filter": ("unwanted",), "similarity_threshold": 1.0}
    assert [sum(core_text.letters(r["text"])[k] for r in rows[:-1]) for k in (0, 1)] == [300, 30]
    out = prepare_rows(rows, **flags)
    assert out["report"]["analyzer"] == "word n-grams 1 to 1"
    assert not any("auto" in notice for notice in out["report"]["notices"]) and NOTICE not in capfd.readouterr().err
    rows[9]["text"] += "天"
    out = prepare_rows(rows, **flags)
    assert out["report"]["analyzer"] == "char_wb n-grams 2 to 3"
    assert any(NOTICE in notice for notice in out["report"]["notices"]) and NOTICE in capfd.readouterr().err
    named = prepare_rows(None, analyzer="char_wb", **flags)
    assert named["report"]["analyzer"] == "char_wb n-grams 3 to 5"
    assert not any("auto" in notice for notice in named["report"]["notices"]), "what was asked for is no notice"
    assert len(read_jsonl(tmp_path / "in" / "raw.jsonl")) == named["report"]["rows_in"]
