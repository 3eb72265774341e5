"""Models from files: an exported program (`.pt2`) or TorchScript (`.pt`, `.ts`).

Such a file is a program: loading and running it does what its author wrote, and PyTorch itself asks for trust. What
can be told without running anything is told first: a file that needs Python's pickle is refused.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from perimetry.errors import FileError, first_line
from perimetry.models.loaded import LoadedModel, normalisation, of_module

SUFFIXES = (".pt2", ".pt", ".pth", ".ts", ".torchscript")
MAX_BYTES = 4 * 2**30
_HOW_TO_EXPORT = "export the model with torch.export.save(torch.export.export(model, (image,)), 'model.pt2')"


def looks_like(name: str) -> bool:
    """True for a path: it exists, has a model file's ending, or names a directory.

    >>> looks_like("nets/small.pt2"), looks_like("resnet50")
    (True, False)
    """
    return name.endswith(SUFFIXES) or "/" in name or "\\" in name or Path(name).is_file()


def build(name: str, *, max_bytes: int = MAX_BYTES) -> LoadedModel:
    """Load the program in that file; raises `FileError` for any other kind of file.

    max_bytes: the largest file, and the largest sum of what it unpacks to, that is read.
    """
    path = Path(name)
    members = _members(path, max_bytes)
    leaves = {member.split("/", 1)[-1] for member in members}
    if any(leaf.startswith("models/") for leaf in leaves) and "archive_format" in leaves:
        return _exported(name, path, members)
    if "constants.pkl" in leaves and any(leaf.startswith("code/") for leaf in leaves):
        return _torchscript(name, path)
    if "data.pkl" in leaves:
        raise _not_a_model(path)
    raise FileError(f"{path} is a zip archive, but neither an exported program nor TorchScript; {_HOW_TO_EXPORT}")


def check_size(path: Path, max_bytes: int) -> None:
    """Raise `FileError` unless the path is a regular file of at most that size."""
    try:
        if not path.exists():
            raise FileError(f"no such file: {path}")
        if not path.is_file():
            raise FileError(f"{path} is not a regular file")
        size = path.stat().st_size
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    if size == 0:
        raise FileError(f"{path} is empty")
    if size > max_bytes:
        raise FileError(f"{path} holds {size} bytes, more than the limit of {max_bytes}")


def _members(path: Path, max_bytes: int) -> list[str]:
    """The archive's member names, once its size has been checked."""
    check_size(path, max_bytes)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        with path.open("rb") as file:
            start = file.read(2)
        if start[:1] == b"\x80":  # the first byte of every binary pickle
            raise _not_a_model(path) from error
        raise FileError(f"{path} is not a model file (damaged, or of another kind); {_HOW_TO_EXPORT}") from error
    if sum(entry.file_size for entry in entries) > max_bytes:
        raise FileError(f"{path} unpacks to more than the limit of {max_bytes} bytes")
    return [entry.filename for entry in entries]


def _not_a_model(path: Path) -> FileError:
    return FileError(
        f"{path} is a checkpoint or a pickled object, not an exported model; if it holds weights, name the model and "
        f"add --weights {path}; a pickled model is refused, since unpickling runs any code in it: {_HOW_TO_EXPORT}"
    )


def _exported(name: str, path: Path, members: Iterable[str]) -> LoadedModel:
    """Load an exported program as a module."""
    _refuse_pickles(path, members)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.load(path)
        except Exception as error:  # a damaged archive fails anywhere inside torch
            raise FileError(f"{path} could not be loaded as an exported program: {first_line(error)}") from error
        module = program.module()
    for part in module.modules():
        part.training = False  # eval() is refused here: the mode was fixed on export
    batch, channels, height, width = _image_shape(program) or (1, 3, 224, 224)
    mean, std = normalisation(channels)
    return LoadedModel(
        name=name,
        resolved=str(path),
        module=module,
        input_size=(height, width),
        channels=channels,
        batch=batch,
        mean=mean,
        std=std,
    )


def _image_shape(program: torch.export.ExportedProgram) -> tuple[int, int, int, int] | None:
    """(N, C, H, W) of the image that the program was exported with; N is 1 where the program takes any."""
    arguments, keywords = program.example_inputs or ((), {})
    names = program.graph_signature.user_inputs
    traced = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    for name, example in zip(names, (*arguments, *keywords.values()), strict=False):
        if isinstance(example, torch.Tensor) and example.ndim == 4:
            batch, channels, height, width = example.shape
            form = traced.get(str(name))
            fixed = form is None or isinstance(form.shape[0], int)
            return batch if fixed else 1, channels, height, width
    return None


def _refuse_pickles(path: Path, members: Iterable[str]) -> None:
    """Raise `FileError` where `torch.export.load` would have to unpickle more than tensors."""
    with zipfile.ZipFile(path) as archive:
        for member in members:
            _, _, leaf = member.rpartition("/")
            if leaf.startswith(("opaque_obj", "custom_obj", "script_object")):
                raise FileError(f"{path} holds a pickled object ({member}), which is not loaded: it could run any code")
            if leaf.endswith("_config.json"):
                pickled = _pickled_payloads(archive.read(member))
                folder = member.rpartition("/")[0]
                payloads = [f"{folder}/{payload}" for payload in pickled]
            elif "sample_inputs" in member or leaf.endswith(".pt"):
                payloads = [member]
            else:
                continue
            for payload in payloads:
                _require_tensors(path, payload, archive.read(payload))


def _pickled_payloads(config: bytes) -> list[str]:
    """Names of the members that a payload listing marks as pickled."""
    entries = json.loads(config).get("config", {})
    return [entry["path_name"] for entry in entries.values() if entry.get("use_pickle")]


def _require_tensors(path: Path, member: str, payload: bytes) -> None:
    if not payload:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise FileError(
            f"{path} holds pickled Python objects ({member}), which are not loaded: they could run any code"
        ) from error


def _torchscript(name: str, path: Path) -> LoadedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.15 calls TorchScript deprecated on each load
        try:
            module = torch.jit.load(path, map_location="cpu")
        except Exception as error:  # a damaged archive fails anywhere inside torch
            raise FileError(f"{path} could not be loaded as TorchScript: {first_line(error)}") from error
    return replace(of_module(name, module.eval()), resolved=str(path))
