"""Folders for what does not stay in memory, in TMPDIR: gone with their process, however that ends.

A folder is locked by the process that made it, and by its children. The kernel gives the lock back
when they have ended; the next folder that is made, and `clean`, remove those that nobody holds any
more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scoring.storage.base import TreeEntry

_NAME = re.compile(r"scoring-(model|query|row-ids|verify|evaluate|compare|serve)-[a-z0-9_]{8}")


class TemporaryFolder:
    """A new folder ``name``, removed by ``close``."""

    def __init__(self, kind: str) -> None:
        for left in abandoned_folders():
            left.remove()
        while True:
            self.name = tempfile.mkdtemp(prefix=f"scoring-{kind}-")
            assert _NAME.fullmatch(Path(self.name).name)
            self._lock = os.open(self.name, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if Path(self.name).is_dir():  # or another process took it for an abandoned one
                return
            os.close(self._lock)

    def close(self) -> None:
        shutil.rmtree(self.name, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


class AbandonedFolder:
    """A folder in TMPDIR that no process holds."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def entry(self) -> TreeEntry:
        sizes = (file.lstat().st_size for file in Path(self.name).rglob("*") if file.is_file())
        return TreeEntry(self.name, sum(sizes), 0)

    def remove(self) -> None:
        with _locked(self.name) as free:
            if free:
                shutil.rmtree(self.name, ignore_errors=True)


def abandoned_folders() -> list[AbandonedFolder]:
    """Return what killed processes of this user have left in TMPDIR."""
    with contextlib.suppress(OSError):
        names = [str(p) for p in Path(tempfile.gettempdir()).iterdir() if _NAME.fullmatch(p.name)]
        return [AbandonedFolder(name) for name in names if _is_abandoned(name)]
    return []


def _is_abandoned(name: str) -> bool:
    try:
        status = os.lstat(name)
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return False
    with _locked(name) as free:
        return free


@contextlib.contextmanager
def _locked(name: str) -> Iterator[bool]:
    """Yield whether this process could lock the folder, and hold the lock during the block."""
    try:
        lock = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)
