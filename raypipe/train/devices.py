"""What a device can do in hardware."""


def has_fast_bf16(use_cpu: bool) -> bool:
    """Whether the device multiplies bfloat16 in hardware; on a CPU that is AVX-512 BF16 or AMX."""
    import torch

    if not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
