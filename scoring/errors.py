"""The exception tree: everything that ``scoring`` raises on purpose.

::

    ScoringError
    ├── JobError            the job file is wrong                            exit status 2
    ├── PartitionError      there is no such partition for this job          exit status 2
    ├── SourceError         the source of a partition cannot be read         exit status 3
    │   ├── SourceMissingError      ... because it is not there (yet)
    │   ├── SourceColumnsError      ... because it has other columns than the job names
    │   └── SourceReplacedError     ... because it was replaced while it was read
    ├── ContractError       the rows are not what the job says they are      exit status 4
    ├── HeldError           the rows have drifted, and wait for somebody     exit status 10
    ├── ModelError          the model cannot be chosen, trusted or loaded    exit status 5
    │   └── RegistryUnavailableError    ... because its registry does not answer
    ├── ScorerError         predicting failed or gave other rows             exit status 6
    ├── PublicationError    the result cannot be staged or published         exit status 7
    │   ├── ReplacedMeanwhileError  ... because another writer was first
    │   ├── NewerPublicationError   ... because a newer result is published
    │   ├── NotStagedError          ... because what earlier steps staged is gone, or outdated
    │   ├── DestinationTakenError   ... because another job publishes there
    │   └── VerifyError     a published partition is not what it should be   exit status 8
    ├── ServiceError        a scoring service does not answer as it should   exit status 1
    ├── StreamError         a stream cannot be read or written               exit status 1
    ├── ResourceError       this machine has no files, room or memory left   exit status 9
    └── MissingPackageError a Python package is not installed                exit status 9

A message says what is wrong and where, and what to do about it. That nothing was published is added
where the error of a run is shown (``UNPUBLISHED``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import sysconfig
import traceback
from collections.abc import Iterator

_NO_ROOM = "Free disk space there, or choose another folder: TMPDIR for temporary files"
_ADVICE = {
    errno.EMFILE: "Raise this process's limit (`ulimit -n 1024`), or use fewer --workers",
    errno.ENFILE: "The whole machine has too many files open; try again later",
    errno.EAGAIN: "Raise the limit of processes (`ulimit -u`), or use fewer --workers",
    errno.ENOMEM: "Give it more memory, or use fewer --workers",
    errno.ENOLCK: "The file system has no locks left; use another one",
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: "Raise this process's limit (`ulimit -f unlimited`)",
    errno.EROFS: "Mount it read-write, or choose another folder",
    errno.ENAMETOOLONG: "Use a shorter path or name",
}
"""Advice for errors of the operating system about a lack of resources."""


RUN_AGAIN = "run the whole partition again (in Airflow: clear the run from its first task)"
"""What to do where a retry of the step alone does not help; Airflow's operators add the command."""


class ScoringError(Exception):
    """Base of all errors of this package; its text is meant for the user, without a traceback.

    No name or value that is quoted in it can move a terminal's cursor, as control characters are
    escaped.
    """

    exit_status = 1
    outcome = ""
    """What the error means for a partition that was to be published; a command prints it last."""

    def __str__(self) -> str:
        return _escaped(super().__str__(), but="\n")


def quoted(text: str, characters: int) -> str:
    """Return ``text`` on one line, for a message: control characters escaped, cut where it is too
    long.
    """
    cut = _escaped(text[:characters])
    return cut if len(text) <= characters else f"{cut}… ({len(text):,} characters)"


def _escaped(text: str, but: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text
    )


def _frames_of_user_code(error: BaseException) -> str:
    """Return the last frames that are neither of this package nor of an installed one nor of
    Python's own.
    """
    others = (
        str(pathlib.Path(__file__).parent),
        *(sysconfig.get_path(p) for p in ("purelib", "stdlib")),
    )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*others, "<"))]
    return "".join(traceback.format_list(own[-3:]))


class JobError(ScoringError):
    """The job file is wrong: names file, line, field, what stands there and what may."""

    exit_status = 2


class PartitionError(ScoringError):
    """A partition key or moment that the job does not have."""

    exit_status = 2


class SourceError(ScoringError):
    """The source of a partition cannot be read: names the URI, and the column where it is one."""

    exit_status = 3


class SourceMissingError(SourceError):
    """The source of a partition is not there; worth a retry, as it may be late.

    ``pattern`` finds the files once they are there; None where that is not known.
    """

    def __init__(self, message: str, pattern: str | None = None) -> None:
        super().__init__(message)
        self.pattern = pattern


class SourceColumnsError(SourceError):
    """The source has other columns than the job file names; another try finds the same."""


class SourceReplacedError(SourceError):
    """What was being read was replaced or removed meanwhile; worth a retry."""


class ContractError(ScoringError):
    """The rows break the job's contract beyond what the job tolerates."""

    exit_status = 4


class HeldError(ScoringError):
    """The partition has drifted beyond what the job publishes; it stays staged until accepted."""

    exit_status = 10
    summary = ""
    """Why it is held and what releases it, in one line: for an alert. It has no value of a row."""


class ModelError(ScoringError):
    """No model in force, a digest that differs, types that are not trusted, another scikit-learn."""

    exit_status = 5


class RegistryUnavailableError(ModelError):
    """The registry of a model does not answer, or with an error of its own; worth a retry."""


class ScorerError(ScoringError):
    """The scorer failed, or returned rows other than those it was given.

    ``frames`` has the last lines of the user's code that an exception came through, and
    ``traceback`` all of it: as text, because exceptions of other processes come without theirs.
    """

    exit_status = 6

    def __init__(self, message: str, code_of: BaseException | None = None) -> None:
        super().__init__(message)
        self.frames = _frames_of_user_code(code_of) if code_of else ""
        self.traceback = "".join(traceback.format_exception(code_of)) if code_of else ""


class PublicationError(ScoringError):
    """The result cannot be staged or published; the partition stays as it was."""

    exit_status = 7


class ReplacedMeanwhileError(PublicationError):
    """A conditional write lost: another writer was first."""


class NewerPublicationError(PublicationError):
    """Another run has published the partition since this one read its source."""


class NotStagedError(PublicationError):
    """What the previous steps have staged is gone, or differs from what is requested now."""


class DestinationTakenError(PublicationError):
    """What is published at the job's destination is another job's."""


class VerifyError(PublicationError):
    """A published partition differs from its manifest, or from what scoring gives again."""

    exit_status = 8


class ParityError(VerifyError):
    """A service answers rows of a published partition in another way than they are published."""


class ServiceError(ScoringError):
    """A scoring service cannot be reached, or does not answer as it should."""


class StreamError(ScoringError):
    """A stream cannot be read or written: its address, its brokers, its topics."""


class ResourceError(ScoringError):
    """This machine or process has too little of what a run needs: open files, room, memory."""

    exit_status = 9


class MissingPackageError(ScoringError):
    """A Python package is not installed that this job needs: names the extra that brings it."""

    exit_status = 9


UNPUBLISHED = (SourceError, ContractError, ModelError, ScorerError, MissingPackageError)
"""Errors that end a run before it publishes anything; the message says so once."""


@contextlib.contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Raise MissingPackageError if an import in the block does not find a module.

    ``extra`` is the one of the package ``batch-scoring`` that brings the module, ``purpose`` what
    needs it: ``files in S3``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "of a module").partition(".")[0]
        raise MissingPackageError(
            f"the Python package {package} is missing, which {purpose} need: "
            f"pip install 'batch-scoring[{extra}]'"
        ) from error


def resource_error(error: BaseException) -> ResourceError | None:
    """Return ``error`` in a sentence, if it says that the operating system has too little of
    something.
    """
    number = _errno(error)
    if number is None:
        return None
    what = str(error) if isinstance(error, MemoryError) and str(error) else os.strerror(number)
    name = getattr(error, "filename", None)
    where = f": {name}" if isinstance(name, str) else ""
    return ResourceError(
        f"{what}{where}; the run has ended, and a partition is published as a whole or not at all. "
        f"{_ADVICE[number]}"
    )


def raise_if_resource_error(error: BaseException) -> None:
    """Raise ``resource_error``: for callers that take any other exception for the fault of a file."""
    found = resource_error(error)
    if found is not None:
        raise found from error


def _errno(error: BaseException) -> int | None:
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return error.errno
    if isinstance(error, ImportError) and os.strerror(errno.EMFILE) in str(error):
        return errno.EMFILE  # a shared library that could not be opened
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return errno.EAGAIN
    return None
