"""Which attention a model computes with: what transformers chooses, eager, or a fused kernel that agrees with eager.

DeBERTa-v2 and -v3 add two terms of relative position to each score (He et al. 2021, "DeBERTa", section 3.1).
transformers has only eager attention for them, which writes out the scores of all pairs of tokens several times over.
The package disentangled-flash computes the same in one kernel on a CUDA GPU. No Ray here.
"""

import copy
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

PACKAGE, FAMILY = "disentangled_flash", "deberta-v2"  # the model_type of DeBERTa-v2 and -v3
TIMES = 2.0  # the error that a kernel may have, in that of eager; as in the tests of FlashAttention (Dao et al. 2022)
FLOOR = 1e-3  # and in the size of the result, where eager is as good as exact (float32)


@dataclass(frozen=True)
class Attention:
    """What a model computes with, and why not with the fused kernel where that is a question."""

    kind: str  # fused, or transformers' name: eager, sdpa, ...
    reason: str = ""


def install(
    model: Any, requested: str, device: torch.device, bf16: bool, batch: Mapping[str, torch.Tensor]
) -> tuple[Any, Attention]:
    """The model with the attention that was asked for (auto, eager, fused), or with what transformers chose.

    A fused kernel is taken only after it agrees with eager attention on ``batch`` (input_ids, attention_mask, labels),
    on all workers. To be called before the optimizer is made: the parameters of a fused model are new objects.
    """
    if requested == "eager":
        model.set_attn_implementation("eager")
    plain = model.config._attn_implementation
    if requested == "eager" or (requested == "auto" and model.config.model_type != FAMILY):
        return model, Attention(plain)
    reason = why_not_fused(model.config, device)
    fused, reason = (None, reason) if reason else _fused(model, device, bf16, batch)
    if not _on_all(fused is not None, device):
        return model, Attention(plain, reason or "another worker has no kernel that agrees")
    return fused, Attention("fused")


def why_not_fused(config: Any, device: torch.device) -> str:
    """What the fused kernel lacks here, or "" where nothing is known to be lacking."""
    if config.model_type != FAMILY:
        return f"there is a fused kernel for {FAMILY} only; {config.model_type} has transformers' own attention"
    if device.type != "cuda":
        return "no CUDA GPU"
    if importlib.util.find_spec(PACKAGE) is None:
        return f"its package is not installed (pip install {PACKAGE.replace('_', '-')})"
    return ""


def excess(exact_model: Any, other: Any, batch: Mapping[str, torch.Tensor], bf16: bool) -> float:
    """The error of ``other`` by the error that is allowed to it: at most 1 where it agrees, inf where it is no number.

    Judged are the logits and the gradient of the loss by all parameters, without dropout. The truth is ``exact_model``
    in float32; allowed are TIMES the error that it has in the arithmetic of the training, and FLOOR.
    """
    exact, usual = (_probe(exact_model, batch, arithmetic) for arithmetic in (False, bf16))
    found = _probe(other, batch, bf16)
    worst = 0.0
    for truth, near, far in zip(exact, usual, found, strict=True):
        allowed = TIMES * torch.linalg.vector_norm(near - truth) + FLOOR * torch.linalg.vector_norm(truth)
        error = float(torch.linalg.vector_norm(far - truth) / allowed)
        worst = max(worst, error if error == error else float("inf"))
    return worst


def _fused(model: Any, device: torch.device, bf16: bool, batch: Mapping[str, torch.Tensor]) -> tuple[Any | None, str]:
    """A copy of the model with the kernel, or None and the reason."""
    try:
        from disentangled_flash import enable_deberta_training

        made = copy.deepcopy(model).to(device)
        enable_deberta_training(made.base_model, backend="triton")
        if not type(made.base_model.encoder).__module__.startswith(PACKAGE):
            return None, "the kernel does not support this model's attention heads, or Triton is missing"
        there = {name: values.to(device) for name, values in batch.items()}
        error = excess(model.to(device), made, there, bf16)
    except Exception as fault:  # of any kind: a kernel that does not compile here must not cost the training
        return None, f"the kernel failed with {type(fault).__name__}"
    if error > 1:
        return None, f"the kernel's results are {error:.1f} times as far from eager attention's as is allowed"
    return made, ""


def _probe(model: Any, batch: Mapping[str, torch.Tensor], bf16: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits  # (rows, classes), and the gradient by all parameters in the order of their names  # (parameters,)."""
    was_training = model.training
    model.eval()
    named = sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)
    with torch.autocast(batch["input_ids"].device.type, torch.bfloat16, enabled=bf16):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
    loss = cross_entropy(logits, batch["labels"])
    gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True, materialize_grads=True)
    model.train(was_training)
    return logits.detach(), torch.cat([g.flatten() for g in gradients])


def _on_all(holds: bool, device: torch.device) -> bool:
    """Whether it holds on every worker: all train with the same attention."""
    verdict = torch.tensor(int(holds), device=device)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(verdict, torch.distributed.ReduceOp.MIN)
    return bool(verdict)
