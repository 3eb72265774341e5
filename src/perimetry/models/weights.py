"""Checkpoints: reading them without running code, and fitting them to a model, all or nothing."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from perimetry.errors import FileError, WeightsError
from perimetry.models.from_file import MAX_BYTES, check_size

# Where training scripts put the state dict inside what they save, and what wrappers write before each name.
_CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "params", "state_dict_ema")
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "network.", "backbone.")


def read_checkpoint(path: str | Path, *, max_bytes: int = MAX_BYTES) -> dict[str, torch.Tensor]:
    """The named tensors in a safetensors file or a PyTorch checkpoint, on the CPU.

    Nothing but tensors and plain containers is unpickled. A state dict inside a container ("state_dict", "model")
    is found. Raises `FileError` for a file that cannot be read that way.
    """
    path = Path(path)
    check_size(path, max_bytes)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    tensors = _find_tensors(content)
    if not tensors:
        raise FileError(f"{path} holds no named tensors; expected a state dict (torch.save(model.state_dict(), ...))")
    return tensors


def fit_weights(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Load the tensors into the module where names and shapes all agree; raise `WeightsError` and change nothing else.

    Prefixes of wrappers ("module.", "model.", ...) are removed where that fits better. source: named in the error.

    >>> fit_weights(torch.nn.Linear(2, 1), {"weight": torch.ones(1, 2)}, source="w.pt")
    Traceback (most recent call last):
    ...
    perimetry.errors.WeightsError: w.pt does not fit: the model holds 2 tensors, the file 1; 1 is missing (bias)
    """
    own = module.state_dict()
    tensors = without_prefix(tensors, own)
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in tensors if name not in own]
    reshaped = [
        f"{name}: {list(tensors[name].shape)} in the file, {list(own[name].shape)} in the model"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    faults = [
        f"{len(names)} {'is' if len(names) == 1 else 'are'} {what} ({_first_few(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if names
    ]
    if faults:
        held = f"the model holds {len(own)} tensors, the file {len(tensors)}"
        raise WeightsError(f"{source} does not fit: {held}; " + "; ".join(faults))
    module.load_state_dict(tensors, strict=False)


def _is_safetensors(path: Path) -> bool:
    """True for the ending, or for the form: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or (start[8:9] == b"{" and start[:2] != b"PK")


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise FileError(f"{path} is not a readable safetensors file: {error}") from error


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files by other versions of pickle are read all the same, or fail
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileError(
            f"{path} is not a checkpoint of tensors only (damaged, or pickled Python objects, which could run any "
            "code); save it again with torch.save(model.state_dict(), ...) or as safetensors"
        ) from error
    except Exception as error:  # a damaged file fails anywhere inside torch
        raise FileError(f"{path} is not a readable PyTorch checkpoint (damaged, or of another kind)") from error


def _find_tensors(content: Any) -> dict[str, torch.Tensor]:
    """The named tensors of a state dict, or of the one inside a container."""
    if not isinstance(content, Mapping):
        return {}
    for key in _CONTAINERS:
        inner = content.get(key)
        if isinstance(inner, Mapping) and any(isinstance(value, torch.Tensor) for value in inner.values()):
            content = inner
            break
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def without_prefix(tensors: Mapping[str, torch.Tensor], own: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The same tensors, with wrappers' prefixes removed for as long as more names fit that way."""
    best = dict(tensors)
    while True:
        fits = sum(name in own for name in best)
        shorter = [
            {name.removeprefix(prefix): value for name, value in best.items()}
            for prefix in _PREFIXES
            if all(name.startswith(prefix) for name in best)
        ]
        if not shorter or fits == len(best):
            return best
        candidate = shorter[0]
        if fits and sum(name in own for name in candidate) <= fits:
            return best
        best = candidate


def _first_few(names: list[str], count: int = 4) -> str:
    more = f", and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
