"""Writing files whole: a file holds its old content or all of the new, never a part."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from perimetry.errors import InputError


def write_whole(target: str | Path, content: bytes, *, lasting: bool = False) -> None:
    """Replace a file in one step, by way of a temporary one beside it; a link's own target is replaced.

    lasting: return only when the content is on the disk, so that it stays after a power cut, which takes longer. A pipe
    or a device has no content to keep and is written as it is. Raises `InputError` where that cannot be done.
    """
    path = Path(os.path.realpath(target))
    if path.is_dir():
        raise InputError(f"cannot write {target}: it is a directory")
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            path.write_bytes(content)
        else:
            _replace(path, content, lasting)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error


def encodable(text: str) -> str:
    r"""JSON in which the bytes of file names that are not UTF-8 stand as escapes, which readers take back.

    >>> import json
    >>> name = b"caf\xe9".decode(errors="surrogateescape")
    >>> print(encodable(json.dumps(name, ensure_ascii=False)))
    "caf\udce9"
    """
    return text.encode(errors="backslashreplace").decode()


def _replace(path: Path, content: bytes, lasting: bool) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
        if lasting:
            _keep_names(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keep_names(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system opens folders, and the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # what shares say that cannot
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask
