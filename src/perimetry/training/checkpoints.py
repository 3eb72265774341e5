"""Checkpoints: weights as safetensors and the state of the optimiser, taken back only whole."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perimetry.errors import FileError
from perimetry.files import write_whole


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Where a run stood: steps done, the model's tensors, the optimiser's state, and numbers worth keeping."""

    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    facts: Mapping[str, Any]


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of that name ("last", "best"); killed or without power, the old or the new one is there.

    Two files carry the step in their names, NAME-STEP.safetensors (weights) and NAME-STEP.pt (the rest); then NAME.json
    is pointed at them in one move, and those of earlier steps are removed. Raises `InputError` where the disk is full;
    the checkpoint before stays.
    """
    from safetensors.torch import save

    stem = f"{name}-{checkpoint.step:08d}"
    # One after the other, so that the copies of one are gone before those of the other are made.
    weights = {
        key: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, value in checkpoint.weights.items()
    }
    write_whole(folder / f"{stem}.safetensors", save(weights), lasting=True)
    del weights
    state = io.BytesIO()
    torch.save({"optimizer": dict(checkpoint.optimizer), "facts": dict(checkpoint.facts)}, state)
    write_whole(folder / f"{stem}.pt", state.getvalue(), lasting=True)
    pointer = {"schema": 1, "step": checkpoint.step, "weights": f"{stem}.safetensors", "state": f"{stem}.pt"}
    write_whole(folder / f"{name}.json", json.dumps(pointer, indent=1).encode(), lasting=True)
    # Those of earlier steps, and the temporary files of writers that were killed.
    for old in (*folder.glob(f"{name}-*.safetensors"), *folder.glob(f"{name}-*.pt"), *folder.glob(f".{name}[-.]*")):
        if old.stem != stem:
            old.unlink(missing_ok=True)


def best_or_last(folder: Path) -> str:
    """The checkpoint that is taken where none is named: "best", or "last" of a run that was not yet evaluated."""
    return "last" if (folder / "last.json").is_file() and not (folder / "best.json").is_file() else "best"


def weights_file(folder: Path, name: str) -> Path:
    """The file of weights of the checkpoint of that name; raises `FileError` where there is none."""
    return folder / str(_pointer(folder, name)["weights"])


def load_checkpoint(folder: Path, name: str) -> Checkpoint | None:
    """The checkpoint of that name, None where none was written; raises `FileError` for a damaged one.

    Nothing but tensors and plain containers is unpickled.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / f"{name}.json").exists():
        return None
    pointer = _pointer(folder, name)
    path = folder / pointer["weights"]
    try:
        weights = load_file(path)
        path = folder / pointer["state"]
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(int(pointer["step"]), weights, state["optimizer"], state["facts"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
        raise FileError(f"{path} is no checkpoint that can be read (damaged?): {error}") from error
    except pickle.UnpicklingError as error:
        raise FileError(f"{path} holds more than tensors and plain containers, and is not opened") from error


def _pointer(folder: Path, name: str) -> dict[str, Any]:
    path = folder / f"{name}.json"
    try:
        pointer = json.loads(path.read_bytes())
        # Only names of files beside it: a pointer from elsewhere could lead anywhere.
        files = {key: Path(pointer[key]).name for key in ("weights", "state")}
        return {"step": int(pointer["step"]), **files}
    except FileNotFoundError:
        raise FileError(f"there is no checkpoint {name!r} in {folder}; train first, or name another run") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path} does not point at a checkpoint: {error}") from error
