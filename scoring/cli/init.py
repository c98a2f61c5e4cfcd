"""``init``: a first job file, drafted from a model or notebook and a sample, and checked at once."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.cli import check
from scoring.cli import options as shared
from scoring.errors import JobError, ScoringError, SourceMissingError
from scoring.job.loader import load_job
from scoring.job.schema import NAME
from scoring.job.uri_templates import Roots

if TYPE_CHECKING:
    from scoring.drafting.draft import Draft

HELP = "draft a job file from a model or a notebook, and a sample of rows"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "notebook",
        nargs="?",
        type=Path,
        metavar="NOTEBOOK",
        help="a notebook with a function run, which becomes the job's scorer",
    )
    parser.add_argument(
        "--model", metavar="FILE", type=Path, help="the model's file, or its folder"
    )
    parser.add_argument(
        "--sample",
        metavar="FILE",
        type=Path,
        help="rows that are to be scored, as parquet or CSV: best of all, the file of a month",
    )
    parser.add_argument(
        "--name", help="the job's name (default: that of the notebook, or of the model's file)"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="the job file (default: JOBS/NAME.yaml)"
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="the column of the sample that the model predicts"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="load the model although it can run code when it is loaded, run the notebook's cells, "
        "and pin them in the job",
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.drafting.render import job_text

    path = _job_path(options)
    if path.exists():
        raise JobError(f"{path} is there already, and was left as it is; name another with --out")
    draft = _drafted(path, options)
    text = job_text(draft)
    path.parent.mkdir(parents=True, exist_ok=True)
    if options.notebook is not None:
        _copy_notebook(path, draft, options.notebook)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    _print_draft(path, draft, options.json)
    try:
        tried = _checked(path, draft, options)
    except ScoringError as error:
        error.outcome = (
            f"The draft is {path}: correct it there, then `scoring check --deep {path}`."
        )
        raise
    if options.json:
        facts = {"job": draft.name, "file": str(path), "left": draft.left, "notes": draft.notes}
        print(json.dumps(facts | {"tried": tried}, indent=2))
    elif tried is not None:
        print(f"next: scoring run {_as_named(path, options)} {tried}")
    else:
        print(f"next: scoring check --deep {_as_named(path, options)}")
    return 0


def _job_path(options: argparse.Namespace) -> Path:
    """Return the file of the new job, whose name it has."""
    _check_given(options)
    if options.out is not None:
        out: Path = options.out
        if out.suffix != ".yaml" or (options.name and options.name != out.stem):
            raise JobError(f"--out {out}: a job file is called after its job, NAME.yaml")
        return out
    of: Path = options.notebook or options.model
    name = options.name or re.sub(r"[^A-Za-z0-9_-]+", "_", of.stem).strip("_-")
    if not re.fullmatch(NAME, name):
        raise JobError(
            f"{name!r} cannot be a job's name: letters, digits, _ and -, beginning with a letter. "
            "Give one with --name"
        )
    jobs: Path = options.jobs
    return jobs / f"{name}.yaml"


def _check_given(options: argparse.Namespace) -> None:
    """Raise JobError where neither a notebook nor a model with a sample is given."""
    if options.notebook is None and (options.model is None or options.sample is None):
        raise JobError("init needs --model FILE and --sample FILE, or a notebook")
    if options.notebook is not None and options.notebook.suffix != ".ipynb":
        raise JobError(f"{options.notebook} is not a notebook by its name, which ends in .ipynb")


def _drafted(path: Path, options: argparse.Namespace) -> Draft:
    from scoring.drafting.draft import Draft, Sample, add_model, add_sample
    from scoring.drafting.from_notebook import add_files, add_notebook, without_sample
    from scoring.drafting.model_file import TRUST, look_into
    from scoring.drafting.notebook import look_into_notebook
    from scoring.drafting.sample_file import read_sample

    of = Roots.of(path.parent, options.data)
    roots = {"data": of.data, "models": of.models}
    draft = Draft(path.stem, trusted=options.trust)
    sample = Sample(options.sample, read_sample(options.sample)) if options.sample else None
    model: Path | None = options.model
    if options.notebook is not None:
        facts = look_into_notebook(options.notebook)
        model = add_notebook(draft, facts, _beside(path, options.notebook), model)
        add_files(draft, facts, model, roots)
    if model is not None:
        if options.trust:
            print(f"caution: {TRUST}. {model} is loaded now", file=sys.stderr)
        add_model(draft, look_into(model, trust=options.trust), options.trust, roots)
    if sample is not None:
        add_sample(draft, sample, options.target, roots)
    else:
        without_sample(draft)
    return draft


def _beside(path: Path, notebook: Path) -> str:
    """Return the notebook's name from the job file's folder, to which it is copied if it lies
    elsewhere.
    """
    folder, lies = path.parent.resolve(), notebook.resolve()
    if lies.is_relative_to(folder):
        return lies.relative_to(folder).as_posix()
    return f"{path.stem}.ipynb"


def _copy_notebook(path: Path, draft: Draft, notebook: Path) -> None:
    """Copy the notebook beside the job file, unless it lies there."""
    assert draft.scorer is not None
    copy = path.parent / draft.scorer
    if copy.resolve() == notebook.resolve():
        return
    if copy.exists():
        raise JobError(
            f"{copy} is there already, and was left as it is; give the job another name with --name"
        )
    shutil.copyfile(notebook, copy)
    draft.notes.append(f"{notebook} was copied to {copy}, with its outputs; that is what is run")


def _print_draft(path: Path, draft: Draft, as_json: bool) -> None:
    if as_json:
        return
    print(f"{path}: a draft of the job {draft.name}")
    for note in draft.notes:
        print(f"note: {note}")
    if draft.left:
        print("left to fill in:")
        for what in draft.left:
            print(f"  - {what}")


def _checked(path: Path, draft: Draft, options: argparse.Namespace) -> str | None:
    """Check the draft as ``check --deep`` does; return the partition that was tried, or None where
    its source is not there.
    """
    job_file = load_job(path)
    check.check_alone(job_file, options.data)
    if not options.json:
        print(f"ok: {path} is the job {draft.name}", flush=True)
    if draft.scorer is not None and not options.trust:
        print(
            "not tried, as that runs the cells of the notebook: --trust, or check --deep",
            file=sys.stderr,
        )
        return None
    if draft.scorer is not None:
        print(f"caution: the cells of {draft.scorer} are run now", file=sys.stderr)
    try:
        found = check.rehearsed(job_file, [], options)
    except SourceMissingError as error:
        print(f"not tried: {error}", file=sys.stderr)
        return None
    return found.partition.key


def _as_named(path: Path, options: argparse.Namespace) -> str:
    return path.stem if path.parent == options.jobs else str(path)
