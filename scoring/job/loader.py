"""Reading of job files (YAML), with errors that name line, field and remedy."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from scoring.errors import JobError, quoted
from scoring.job.every_partition import problems_of_every_partition
from scoring.job.explain import explain_all
from scoring.job.inputs import ColumnConfig
from scoring.job.model import EnvironmentConfig
from scoring.job.schema import Job
from scoring.job.section import Loc, Problem
from scoring.job.shorthand import SHOWN_CHARACTERS
from scoring.job.uri_templates import Roots
from scoring.job.yaml_text import parse_yaml

# Far more than a job needs, but small enough to parse or reject any file quickly.
FILE_BYTES = 256 << 10


@dataclass(frozen=True)
class JobFile:
    """A job and the file it was read from; ``sha256`` is of the file's bytes.

    ``lines`` maps each location to its line, from 1.  ``within`` is the section that stands for the
    source of ``job``, where that is not the file's own.
    """

    job: Job
    path: Path
    sha256: str
    lines: Mapping[Loc, int] = field(default_factory=lambda: {(): 1}, compare=False, repr=False)
    within: Loc = ()

    def error(self, loc: Loc, message: str) -> JobError:
        """Return a JobError for the value at ``loc``."""
        return self.errors([(loc, message)])

    def errors(self, problems: list[Problem]) -> JobError:
        """Return a JobError for several problems."""
        found = [((*self.within, *loc), message) for loc, message in problems]
        return JobError(_render(self.path, found, self.lines))

    def place(self, loc: Loc) -> str:
        """Return file, line and field of ``loc`` for a message."""
        loc = (*self.within, *loc)
        return f"{self.path}, line {_line_of(loc, self.lines)}, {_dotted(loc)}"

    def roots(self, data: str | None = None) -> Roots:
        """Return the roots of this job's URIs; relative ones start from the job file's folder."""
        return Roots.of(self.path.parent, data)

    def with_inputs(self, inputs: Mapping[str, ColumnConfig]) -> JobFile:
        """Return this job with the inputs that its model has; JobError if they do not go with it."""
        job = self.job.model_copy(update={"inputs": dict(inputs)})
        if problems := list(job.problems()):
            raise self.errors(problems)
        return replace(self, job=job)

    @property
    def scorer_path(self) -> Path | None:
        return self.path.parent / self.job.scorer if self.job.scorer else None


def load_job(path: str | os.PathLike[str]) -> JobFile:
    """Load the job file at ``path``; raise JobError with line and field of each error."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None
    return parse_job(path, text)


def parse_job(path: Path, text: bytes) -> JobFile:
    """Return the job that ``text`` says, as if it were in the file ``path``; raise as ``load_job``."""
    if len(text) > FILE_BYTES:
        raise JobError(f"{path} is larger than a job file may be, {FILE_BYTES >> 10} KiB")
    values, lines = parse_yaml(path, text)
    try:
        job = Job.model_validate(values)
        problems = [*_place_problems(job, path), *job.problems()]
    except ValidationError as error:
        job, problems = None, explain_all(error.errors(), values)
    if job is None or problems:
        raise JobError(_render(path, problems, lines))
    return JobFile(job, path.absolute(), hashlib.sha256(text).hexdigest(), lines)


def check_every_partition(file: JobFile) -> None:
    """Raise JobError for a job whose partitions would be scored from the same rows.

    Such a job can score a single partition, so ``load_job`` accepts it, but its Dag would be wrong.
    """
    if problems := list(problems_of_every_partition(file.job)):
        raise JobError(_render(file.path, problems, file.lines))


def _place_problems(job: Job, path: Path) -> Iterator[Problem]:
    # So no two files of a folder have the same job, and the file of a job is easy to find.
    if job.name != path.stem:
        remedy = f"rename the file to {job.name}{path.suffix}, or the job to {path.stem}"
        yield ("name",), f'"{job.name}" differs from the file name, {path.name}; {remedy}'
    if job.scorer:
        yield from _file_problems(("scorer",), job.scorer, "scorer.py")
    for i, version in enumerate(job.model.versions if job.model else []):
        environment = version.environment
        if isinstance(environment, EnvironmentConfig) and isinstance(environment.requirements, str):
            loc = ("model", "versions", i, "environment", "requirements")
            name = environment.requirements
            yield from _file_problems(loc, name, f"{version.version}-requirements.txt")


def _file_problems(loc: Loc, name: str, example: str) -> Iterator[Problem]:
    """Report what is not a file that is reviewed together with the job file."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        yield loc, f"{name!r} is not in the job file's folder or a subfolder of it"
    elif re.match(r"~|.*[\\{$]", name):
        yield (
            loc,
            f"{name!r} is not expanded; write a path relative to the job file's folder, such "
            f"as {example}",
        )


def _render(path: Path, problems: list[Problem], lines: Mapping[Loc, int]) -> str:
    counted = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    rows = sorted((_line_of(loc, lines), _dotted(loc), message) for loc, message in problems)
    listed = "\n".join(f"  line {line}, {field}: {message}" for line, field, message in rows)
    return f"{path} is not a valid job file ({counted}):\n{listed}"


def _line_of(loc: Loc, lines: Mapping[Loc, int]) -> int:
    while loc not in lines:
        loc = loc[:-1]
    return lines[loc]


def _dotted(loc: Loc) -> str:
    text = ""
    for step in loc:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{quoted(step, SHOWN_CHARACTERS)}"
    return text.removeprefix(".")
