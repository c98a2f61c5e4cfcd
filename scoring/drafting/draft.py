"""The parts of a drafted job: what the model, the sample and the paths of both say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scoring.drafting.contract import (
    MOST_ALLOWED,
    DraftInput,
    allowed_values,
    nullable_inputs,
    quarantined_fraction,
)
from scoring.drafting.key import find_key, is_called_a_key
from scoring.drafting.model_file import ModelFacts
from scoring.drafting.months import DatedPath, dated_path, one_month, plain_uri
from scoring.drafting.notebook import NotebookFacts
from scoring.drafting.sample_file import SampledColumn
from scoring.errors import JobError
from scoring.job.inputs import ColumnConfig
from scoring.job.partitions import Kind

PLACEHOLDER_MONTH = "2000-01"
MOST_CLASSES = 5


@dataclass(frozen=True)
class DraftFile:
    """A further file that the scorer is given, under the name of its parameter."""

    name: str
    uri: str
    sha256: str
    may_run_code: bool


@dataclass
class Draft:
    """What a job file is written from.

    ``left`` are the decisions that only the user can make, ``notes`` what is worth knowing.
    ``row_id`` without columns is the place in the file.
    """

    name: str
    source_uri: str = ""
    kind: Kind = "month"
    start: str = PLACEHOLDER_MONTH
    end: str | None = None
    timezone: str = "UTC"
    date_column: str | None = None
    row_id: list[str] = field(default_factory=list)
    row_id_comment: str = ""
    inputs: list[DraftInput] = field(default_factory=list)
    inputs_comment: str = ""
    model: ModelFacts | None = None
    model_uri: str = ""
    scorer: str | None = None
    files: list[DraftFile] = field(default_factory=list)
    notebook: NotebookFacts | None = None
    prediction: str = "prediction"
    probabilities: dict[str, Any] = field(default_factory=dict)
    quarantined: float = 0.0
    """The fraction of the sample's rows that would be quarantined."""
    trusted: bool = False
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """A sample file and its columns."""

    path: Path
    columns: dict[str, SampledColumn]

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())).values)


def add_sample(draft: Draft, sample: Sample, target: str | None, roots: dict[str, str]) -> None:
    """Add the source, its partitions, the key and the inputs to ``draft``.

    Raises JobError where ``target`` is not a column of the sample.
    """
    columns = sample.columns
    if target is not None and target not in columns:
        raise JobError(f"the sample {sample.path} has no column {target!r}: {', '.join(columns)}")
    _add_partitions(draft, sample, roots, target)
    facts = draft.model
    wanted = wanted_inputs(draft)
    draft.row_id = find_key(columns, {*(wanted or ())}, target)
    draft.row_id_comment = _about_key(draft.row_id, sample.rows)
    if facts is not None and facts.has_signature and draft.scorer is None:
        draft.inputs, draft.inputs_comment = [], "the contract is the signature of the model"
        return
    if wanted is None:
        leave = {*draft.row_id, draft.date_column, target}
        wanted = [n for n, c in columns.items() if n not in leave and c.config is not None]
        of_what = "the sample" if target else "the sample, the target too if it is there"
        draft.inputs_comment = f"all other columns of {of_what}: remove what the model does not get"
        _note_number_of_inputs(draft, wanted)
    # What a scorer makes of its frame before the model sees it, nobody can say.
    alone = facts if draft.scorer is None else None
    categories = alone.categories if alone else {}
    nullable = nullable_inputs(alone, columns, wanted)
    draft.inputs = [_input(name, columns, categories, nullable, draft) for name in wanted]
    draft.quarantined = quarantined_fraction(draft.inputs, columns)


def wanted_inputs(draft: Draft) -> list[str] | None:
    """Return the columns that the model or the notebook reads; None where neither says all."""
    of_model = draft.model.inputs if draft.model else None
    notebook = draft.notebook
    if notebook is None:
        return of_model
    if notebook.reads_all:
        if of_model is None:
            return None
        made = [name for name in of_model if name not in notebook.made]
        return list(dict.fromkeys([*made, *notebook.columns]))
    return notebook.columns or None


def add_model(draft: Draft, facts: ModelFacts, trusted: bool, roots: dict[str, str]) -> None:
    """Add the model to ``draft``: how it is pinned, and what it predicts."""
    draft.model, draft.trusted = facts, trusted
    draft.model_uri = plain_uri(facts.path, dict(reversed(roots.items())))
    if facts.kind == "mlflow":
        draft.model_uri += "/"
    if facts.why_not:
        draft.notes.append(f"{facts.path}: {facts.why_not}")
    if facts.may_run_code and not trusted:
        draft.left.append(
            "remove the # before sha256 if you trust the model file: it runs code when it is loaded"
        )
    elif facts.untrusted and not trusted:
        draft.left.append("remove the # before trusted_types if you know and trust these types")
    if facts.lacks_predict and draft.scorer is None:
        draft.left.append(
            "the model has no predict: add a scorer with def run(df, model), docs/jobs.md"
        )
    if 2 <= len(facts.classes) <= MOST_CLASSES and draft.scorer is None:
        draft.probabilities = _probabilities(facts.classes)


def _add_partitions(
    draft: Draft, sample: Sample, roots: dict[str, str], target: str | None
) -> None:
    uri = plain_uri(sample.path, roots, of_source=True)
    dated = dated_path(uri)
    draft.source_uri = dated.template if dated else uri
    months = {
        name: month
        for name, column in sample.columns.items()
        if name != target and (month := one_month(column)) is not None
    }
    if dated is not None:
        draft.kind, draft.start = dated.kind, dated.key
    elif months:
        draft.start = next(iter(months.values()))
    _add_date_column(draft, sample, months, dated)
    if dated is None:
        draft.end = draft.start
        what = "put {year}-{month} in source.uri where the month stands, and remove end"
        if not months:
            what += "; start is a placeholder: write the month of the sample there"
        draft.left.append(f"the sample's path has no date: {what}")


def _add_date_column(
    draft: Draft, sample: Sample, months: dict[str, str], dated: DatedPath | None
) -> None:
    if dated is not None and dated.kind != "month":
        return
    fitting = [name for name, month in months.items() if month == draft.start]
    if fitting:
        draft.date_column = fitting[0]
        config = sample.columns[fitting[0]].config
        if config is not None and config.timezone is not None:
            draft.timezone = config.timezone
    for name, month in months.items():
        if not fitting:
            draft.notes.append(
                f"the column {name!r} has only moments of {month}, and the path says {draft.start}"
            )


def _about_key(row_id: list[str], rows: int) -> str:
    if not row_id:
        return "no few columns identify a row of the sample; its place in the file does"
    comment = f"unique in the sample's {rows:,} rows"
    if not any(map(is_called_a_key, row_id)):
        comment += "; if that is by chance: row_number"
    return comment


def _input(
    name: str,
    columns: dict[str, SampledColumn],
    categories: dict[str, list[Any]],
    nullable: set[str],
    draft: Draft,
) -> DraftInput:
    column = columns.get(name)
    if column is None or column.config is None:
        what = "not in the sample" if column is None else f"stored as {column.stored}"
        reader = "model" if draft.scorer is None else "scorer"
        draft.left.append(
            f"the {reader} reads {name!r}, which is {what}: derive it (source.derive)"
        )
        return DraftInput(name, ColumnConfig(type="float64"), f"TODO: {what}; source.derive can")
    config = column.config.model_copy(update={"nullable": name in nullable})
    comment = f"seen: {column.seen}"
    if column.is_null.any() and name not in nullable:
        comment += "; the model fails for nulls, so these rows are quarantined"
    allowed = allowed_values(config, categories.get(name, []))
    if len(allowed) > MOST_ALLOWED:
        comment += f"; the model fails for others than its {len(allowed):,} values"
    elif allowed:
        config = config.model_copy(update={"allowed": allowed})
        comment += "; the model fails for others"
    return DraftInput(name, config, comment)


def _note_number_of_inputs(draft: Draft, wanted: list[str]) -> None:
    expected = draft.model.number_of_inputs if draft.model else None
    if expected is not None and expected != len(wanted):
        draft.left.append(
            f"the model does not name its inputs, and expects {expected:,} columns; the draft has "
            f"{len(wanted):,}: remove the others, and keep the order it was trained with"
        )
    elif expected is not None:
        draft.notes.append(
            "the model does not name its inputs, and gets them in the order of the job file"
        )


def _probabilities(classes: list[Any]) -> dict[str, Any]:
    """Return a column for each class; none where a class is not a text, integer or truth value."""
    found: dict[str, Any] = {}
    for label in classes:
        value = int(label) if isinstance(label, float) and label.is_integer() else label
        if not isinstance(value, str | int | bool):
            return {}
        base = "p_" + (re.sub(r"\W+", "_", str(value)).strip("_").lower() or "class")
        name, number = base, 2
        while name in found:
            name, number = f"{base}_{number}", number + 1
        found[name] = value
    return found
