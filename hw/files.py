"""Writing a file whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path

#: Where names stand for open files and devices: written in place, whatever they lead to.
_SYSTEM = ("/dev/", "/proc/")


def in_place(path: Path) -> bool:
    """Whether `path` names something that must not be replaced: a device, a FIFO, an open file."""
    system = os.path.abspath(path).startswith(_SYSTEM)
    return path.exists() and not path.is_dir() and (system or not path.is_file())


def write_whole(path: Path, data: bytes) -> None:
    """Write `data`: `path` is whole or untouched (temporary name, then rename). OSError where it can't be.

    A symbolic link stays and its target is written. What is no regular file is opened and written in place.
    """
    if in_place(path):
        with open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
            file.write(data)
        return
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=".trine-")
    try:
        with open(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(draft, 0o666 & ~mask)
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise
