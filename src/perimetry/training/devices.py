"""Which device a network runs on."""

from __future__ import annotations

import torch

from perimetry.errors import InputError, first_line


def device_of(name: str | None) -> torch.device:
    """The device of that name; None is the first GPU that CUDA sees, or the CPU.

    >>> device_of("cpu")
    device(type='cpu')
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"there is no device {name!r}; cpu, or cuda (cuda:1 for the second)") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"there is no device {name!r} here: CUDA sees {torch.cuda.device_count()}; --device cpu works")
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"nothing can be computed on the device {name!r} ({first_line(error)}); --device cpu works"
        ) from error
    return device
