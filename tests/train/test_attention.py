"""Which attention a model computes with, and the check that a fused kernel must pass first."""

import copy

import pytest
import torch
from transformers import AutoConfig, BertConfig, BertForSequenceClassification, DebertaV2Config
from transformers import DebertaV2ForSequenceClassification as Deberta

from raypipe.train import attention

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = {"vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2} | {
    "intermediate_size": 128,
    "num_labels": 5,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two wait for each other on a machine that does other work
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def deberta():
    """DeBERTa-v3 in small: shared keys, relative positions in buckets, no absolute ones."""
    torch.manual_seed(0)
    config = DebertaV2Config(
        **SMALL,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        max_position_embeddings=128,
        type_vocab_size=0,
        initializer_range=0.1,
    )
    return Deberta(config)


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SMALL))


@pytest.fixture(scope="module")
def batch():
    lengths = torch.tensor([3, 9, 30])
    rng = torch.Generator().manual_seed(1)
    mask = (torch.arange(30)[None] < lengths[:, None]).long()
    ids = torch.randint(1, 300, (3, 30), generator=rng) * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 3, 4])}


@pytest.mark.parametrize(
    ("kind", "asked_for", "expected", "reason"),
    [
        ("bert", "auto", "sdpa", ""),
        ("bert", "eager", "eager", ""),
        ("bert", "fused", "sdpa", "a fused kernel for deberta-v2 only; bert has"),
        ("deberta", "auto", "eager", "no CUDA GPU"),
        ("deberta", "fused", "eager", "no CUDA GPU"),
        ("deberta", "eager", "eager", ""),
    ],
)
def test_the_choice_and_why(kind, asked_for, expected, reason, bert, deberta, batch):
    model = copy.deepcopy({"bert": bert, "deberta": deberta}[kind])
    installed, found = attention.install(model, asked_for, CPU, False, batch)
    assert installed is model and model.config._attn_implementation == expected == found.kind
    assert bool(found.reason) == bool(reason) and reason in found.reason


def test_on_a_gpu_only_the_package_is_lacking(deberta, monkeypatch):
    monkeypatch.setattr(attention, "PACKAGE", "no_such_kernel")
    assert "(pip install no-such-kernel)" in attention.why_not_fused(deberta.config, CUDA)
    monkeypatch.setattr(attention, "PACKAGE", "json")
    assert attention.why_not_fused(deberta.config, CUDA) == ""
    assert attention.why_not_fused(AutoConfig.for_model("modernbert"), CUDA)


@pytest.mark.parametrize("bf16", [False, True])
def test_an_equal_model_passes_and_a_perturbed_one_does_not(deberta, batch, bf16):
    same, other, broken = (copy.deepcopy(deberta) for _ in range(3))
    assert attention.excess(deberta, same.train(), batch, bf16) <= 1
    assert same.training, "as it was found"
    with torch.no_grad():
        # What a kernel could get wrong: the positions of one layer, scaled; the scale of one layer's scores.
        other.deberta.encoder.layer[1].attention.self.scale_factor = 1
        other.deberta.encoder.layer[1].attention.self.pos_att_type = []
        broken.deberta.encoder.layer[0].attention.self.query_proj.weight.fill_(float("nan"))
    assert attention.excess(deberta, other, batch, bf16) > 1
    assert attention.excess(deberta, broken, batch, bf16) == float("inf")


@pytest.mark.parametrize("bf16", [False, True])
def test_other_code_for_the_same_attention_passes(bert, batch, bf16):
    eager = copy.deepcopy(bert)
    eager.set_attn_implementation("eager")
    assert attention.excess(eager, bert, batch, bf16) <= 1


@pytest.mark.parametrize("bf16", [False, True])
def test_the_package_passes_with_its_code_for_the_cpu(deberta, batch, bf16):
    package = pytest.importorskip("disentangled_flash")
    other = copy.deepcopy(deberta)
    package.enable_deberta_training(other.base_model, backend="torch")
    assert attention.excess(deberta, other, batch, bf16) <= 1
    assert other.state_dict().keys() == deberta.state_dict().keys(), "what it saves is a usual DeBERTa"


def test_a_kernel_that_fails_costs_nothing(deberta, batch, monkeypatch):
    """The package is there and there is no GPU for it: the model stays as it was."""
    monkeypatch.setattr(attention, "why_not_fused", lambda config, device: "")
    before = copy.deepcopy(deberta.state_dict())
    model, found = attention.install(deberta, "auto", CPU, True, batch)
    assert model is deberta and found.kind == "eager" and "the kernel" in found.reason
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())
