"""The images of which something is to be told: a file, or all in a folder, each under its own name."""

from __future__ import annotations

from pathlib import Path

from perimetry.data import Sample
from perimetry.data.lists import image_files, image_files_below
from perimetry.errors import FileError, InputError


def samples_of(path: str | Path, *, below: bool, without: Path) -> list[Sample]:
    """The image at a path, or the images in a folder, in the order of their names.

    below: whether those in its folders count too (a folder for each class), and names are paths with their endings;
    else names have none. without: a folder whose images are none of these (where predictions go).
    Raises `FileError` where there is nothing, `InputError` for two images of one name.
    """
    root = Path(path)
    if root.is_file():
        return [Sample(root.name if below else root.stem, root)]
    if not root.exists():
        raise FileError(f"no such image or folder: {path}")
    apart = without.resolve()
    listed = image_files_below(root) if below else image_files(root)
    inside = root.resolve() in apart.parents
    files = [file for file in listed if not (inside and apart in file.resolve().parents)]
    if not files:
        if not below and image_files_below(root):
            raise FileError(f"there is no image in {path}, only in folders in it; name one of those")
        raise FileError(f"there is no image in {path}" + (", or in a folder in it" if below else ""))
    found: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(root).as_posix() if below else file.stem
        if name in found:
            raise InputError(
                f"{found[name]} and {file} are both called {name}, and so would be what is told of them; rename one"
            )
        found[name] = file
    return [Sample(name, file) for name, file in sorted(found.items())]
