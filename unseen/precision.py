"""In which numbers networks compute: bfloat16 where the hardware multiplies it natively, float32 elsewhere."""

import torch


def resolve_precision(asked: str, device: torch.device) -> str:
    """`auto` becomes bfloat16 where the hardware multiplies it natively, float32 elsewhere."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") or able.get("arm_bf16") else "float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Matrix products in bfloat16, the rest as it is; does nothing for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
