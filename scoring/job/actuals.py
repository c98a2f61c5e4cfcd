"""The actuals section of a job file: the truth that arrives later, to see how wrong predictions were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from scoring.job.columns import ROW
from scoring.job.schedule import check_cron
from scoring.job.section import Problem, Section
from scoring.job.source import SourceConfig

if TYPE_CHECKING:
    from scoring.job.schema import Job

Task = Literal["regression", "classification"]


class ActualsConfig(Section):
    """Where the true values of the predictions are, and how their rows are found."""

    source: Annotated[
        SourceConfig,
        Field(
            description="Where the truth of a partition comes from, as in [source](#source): files "
            "or a query. `{partition}` and `:start` are those of the partition that was predicted."
        ),
    ]
    column: Annotated[
        str,
        Field(
            min_length=1,
            description="The column with the true value. A null there means that it is not known "
            "yet.",
        ),
    ]
    row_id: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description="The columns of the actuals that identify a row, in the order of the job's "
            "`row_id`. By default, they have the same names.",
        ),
    ] = None
    task: Annotated[
        Task | None,
        Field(
            description="Which figures are computed: `regression` (RMSE, MAE, bias, R²) or "
            "`classification` (accuracy, and with probabilities log loss, AUC and calibration). By "
            "default, classification for predictions that are text or true and false, and for jobs "
            "with `output.probabilities`, and regression for decimal numbers. Required for integers."
        ),
    ] = None
    schedule: Annotated[
        str,
        AfterValidator(check_cron),
        Field(
            description="When Airflow looks for actuals that have arrived or changed: a cron "
            "expression of five fields, in the job's `timezone`."
        ),
    ] = "0 6 * * *"
    arrive_within_days: Annotated[
        int,
        Field(
            ge=1,
            le=3660,
            description="For actuals that cannot be compared with those of the last evaluation (a "
            "query, files over https): until how many days after its end a partition is evaluated "
            "again at each of these times.",
        ),
    ] = 90


def problems_of_actuals(job: Job) -> Iterator[Problem]:
    """Report what ``actuals`` of ``job`` says that goes with no other field."""
    actuals = job.actuals
    if actuals is None:
        return
    for loc, problem in actuals.source.problems():
        yield ("actuals", "source", *loc), problem
    if actuals.source.wait is not None:
        yield (
            ("actuals", "source", "wait"),
            "is not for actuals, which are looked for at the times of actuals.schedule",
        )
    if actuals.column == ROW:
        yield ("actuals", "column"), f"{ROW!r} is reserved for internal use"
    if actuals.task == "regression" and job.output.probabilities:
        yield ("actuals", "task"), "the job has output.probabilities, so it is a classification"
    if job.row_id == "row_number":
        yield from _problems_of_row_numbers(job, actuals)
    else:
        yield from _problems_of_row_ids(job.row_id, actuals)


def _problems_of_row_numbers(job: Job, actuals: ActualsConfig) -> Iterator[Problem]:
    if actuals.row_id is not None:
        yield ("actuals", "row_id"), "not with row_id: row_number; a row's place identifies it"
    if actuals.source.uri != job.source.uri or not actuals.source.has_files:
        yield (
            ("actuals", "source"),
            "with row_id: row_number, the place in the source identifies a row, so the actuals "
            "have to be in the same files: write source.uri of the job here, or give the rows a key",
        )


def _problems_of_row_ids(row_id: list[str], actuals: ActualsConfig) -> Iterator[Problem]:
    given = actuals.row_id or row_id
    if len(given) != len(row_id):
        yield (
            ("actuals", "row_id"),
            f"has {len(given)} columns, and the job's row_id {len(row_id)} "
            f"({', '.join(row_id)}); name one for each, in the same order",
        )
    for name in dict.fromkeys(given):
        if given.count(name) > 1:
            yield ("actuals", "row_id"), f"{name!r} is listed twice"
    if actuals.column in given:
        yield ("actuals", "column"), f"{actuals.column!r} identifies the row; it has no true value"
