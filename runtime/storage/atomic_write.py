"""Files and folders that appear whole or not at all."""

import ctypes
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import OptionError

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def check_replaceable(
    folder: Path, *, replace: bool, marker: str, option: str = "--overwrite"
) -> None:
    """Refuse to write where something stands that must not be lost.

    Args:
        folder: Where something shall be written.
        replace: Whether an older one of the same kind may be replaced.
        marker: A file or folder that every folder of this kind holds: without it, what stands there
            is somebody's own.
        option: What asks for replacing, for the message.

    Raises:
        OptionError: `folder` exists, and may not be replaced or is of another kind.
    """
    if not folder.exists():
        return
    if not replace:
        raise OptionError(f"{folder} exists already; choose another name or pass {option}")
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / marker).exists()):
        raise OptionError(
            f"{folder} holds no {marker}, so it is not what {option} may replace; choose "
            "another name, or remove it yourself"
        )


@contextmanager
def atomic_folder(
    folder: Path, *, marker: str, replace: bool = False, option: str = "--overwrite"
) -> Iterator[Path]:
    """Give a temporary folder that becomes `folder` when the block ends without an error.

    Args:
        folder: Where the content shall stand in the end.
        marker: A file or folder that every folder of this kind holds.
        replace: Whether an existing folder of this kind may be replaced; it stays until the new one
            is whole.
        option: What asks for replacing, for the message.

    Raises:
        OptionError: `folder` exists, and may not be replaced or is of another kind.
    """
    check_replaceable(folder, replace=replace, marker=marker, option=option)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        # mkdtemp makes the folder private, but the server may run as another user.
        temporary.chmod(0o755)
        with naming_what_is_written(folder):
            yield temporary
        if not folder.exists():
            temporary.rename(folder)
        elif not _exchange(temporary, folder):
            retired = temporary.with_name(temporary.name + ".retired")
            folder.rename(retired)
            temporary.rename(folder)
            shutil.rmtree(retired)
    finally:
        # Where two folders were exchanged, the older one.
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def naming_what_is_written(path: Path) -> Iterator[None]:
    """Have an error of the disk name a file or folder; a write says only that there is no room.

    Raises:
        OSError: The one of the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_DISK and error.filename is None:
            error.filename = str(path)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once, so that neither is missing even if the process is killed.

    Returns:
        Whether it was done: Linux can, on most file systems.
    """
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here = -100  # AT_FDCWD: relative paths begin at the process' folder.
    exchange = 2  # RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


@contextmanager
def locked(path: Path, *, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock on a file, which is made where it is missing, or on a folder.

    Whoever wants it too waits, in this process and in others; it ends with the process.

    Args:
        path: The file or folder.
        refusal: What to say instead of waiting.

    Raises:
        OptionError: Somebody else holds it, and there is a refusal.
    """
    import fcntl  # not on Windows, where a line PC may use the rest of this room

    flags = os.O_RDONLY if path.is_dir() else os.O_WRONLY | os.O_CREAT
    lock = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal is not None else 0))
        except BlockingIOError as error:
            raise OptionError(refusal or "") from error
        yield
    finally:
        os.close(lock)


def atomic_write(
    path: Path, content: bytes | str, *, mode: int = 0o644, lasting: bool = False
) -> None:
    """Write a file under a temporary name beside its place, then rename it into place.

    Args:
        path: The file.
        content: What it shall hold.
        mode: Who may read and write it; until it stands in its place nobody but its owner may.
        lasting: Wait until it is on the disk, so that a power cut does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with naming_what_is_written(path), os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
