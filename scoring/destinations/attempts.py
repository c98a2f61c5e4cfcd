"""Ownership of staging: attempts that are at work, and those with a killed process.

On disk an attempt is held by a lock beside its folder, ``ATTEMPT.lock``, which ends with its
process. In S3 there are no locks; there a record, ``ATTEMPT.owner``, says which process it belongs
to. An attempt of an Airflow run belongs to no process, as its tasks come and go: it has neither.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from scoring.storage.base import Storage, TreeEntry
from scoring.storage.local import exclusive, is_held

LOCK, OWNER = ".lock", ".owner"
SECONDS_OF_A_DAY = 86_400
DAYS_KEPT = 14
"""How long what nobody can be asked about is kept: an Airflow run that failed may go on from it."""


class Owner(BaseModel):
    """A process, so that others of the same machine can check whether it still runs.

    The same ids mean other processes on another machine, after another start of it (``boot_id``),
    and in another container (``pid_namespace``).
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Owner:
        return cls(**_where(), pid=os.getpid(), started=_started(os.getpid()) or "")

    def is_gone(self) -> bool | None:
        """Return whether it has ended; None if this process cannot know."""
        here = _where()
        if not here["boot_id"] or any(getattr(self, key) != value for key, value in here.items()):
            return None
        return _started(self.pid) != self.started


def _where() -> dict[str, str]:
    with contextlib.suppress(OSError):
        return {
            "host": socket.gethostname(),
            "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "pid_namespace": str(Path("/proc/self/ns/pid").readlink()),
        }
    return {"host": socket.gethostname(), "boot_id": "", "pid_namespace": ""}


def _started(pid: int) -> str | None:
    """Return the start time of the process, in the kernel's ticks; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class Attempt:
    """What lies in the staging of one attempt; ``path`` is its partition's."""

    uri: str
    path: str
    entries: list[TreeEntry]

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)

    @property
    def days(self) -> float:
        """Since the last change."""
        return min(entry.age_seconds for entry in self.entries) / SECONDS_OF_A_DAY

    def why_abandoned(self, storage: Storage, days_kept: float | None = DAYS_KEPT) -> str | None:
        """Return why it no longer belongs to anybody, in words; None where somebody may still use
        it.

        An attempt of an unknown owner counts as abandoned after ``days_kept`` days, with None
        never.
        """
        names = {entry.uri for entry in self.entries}
        if f"{self.uri}{LOCK}" in names:
            return None if is_held(f"{self.uri}{LOCK}") else "its process has ended"
        if f"{self.uri}{OWNER}" in names:
            gone = _is_gone(storage.read(f"{self.uri}{OWNER}"))
            if gone is not None:
                return "its process has ended" if gone else None
        if days_kept is not None and self.days > days_kept:
            return f"unchanged for {self.days:.0f} days"
        return None

    def remove(self, storage: Storage) -> None:
        """Remove all of it, and last of all the mark of whom it belonged to."""
        lock = f"{self.uri}{LOCK}"
        if any(entry.uri == lock for entry in self.entries):
            with exclusive(lock, self.uri):  # no other process may take it up meanwhile
                storage.remove_tree(self.uri)
                storage.remove(lock)
            return
        storage.remove_tree(self.uri)
        storage.remove(f"{self.uri}{OWNER}")


def _is_gone(record: bytes | None) -> bool | None:
    try:
        return Owner.model_validate_json(record or b"").is_gone()
    except ValidationError:
        return None


def attempts(storage: Storage, staging: str, path: str = "") -> list[Attempt]:
    """Return the attempts at all partitions, or at that of ``path``, whose staging has something in
    it.
    """
    found: dict[str, list[TreeEntry]] = {}
    for entry in storage.tree(f"{staging}/{path}" if path else staging):
        partition, _, rest = entry.uri.removeprefix(f"{staging}/").partition("/")
        name = rest.split("/")[0].removesuffix(LOCK).removesuffix(OWNER)
        found.setdefault(f"{partition}/{name}", []).append(entry)
    return [
        Attempt(f"{staging}/{key}", key.partition("/")[0], entries)
        for key, entries in sorted(found.items())
    ]
