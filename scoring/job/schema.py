"""The model of a job file.

``scoring.job.loader`` reads the file. This module is imported whenever Airflow parses a Dag file,
so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Discriminator, Field, Tag

from scoring.errors import ModelError, PartitionError, quoted
from scoring.job import schedule
from scoring.job.actuals import ActualsConfig, problems_of_actuals
from scoring.job.alert import AlertConfig
from scoring.job.checks import ChecksConfig as ChecksConfig
from scoring.job.checks import problems_of_drift
from scoring.job.columns import FILE, ROW_NUMBER, problems_of_columns
from scoring.job.destination import DestinationConfig
from scoring.job.expressions import Expression, LeftOutReason, problems_of_reasons
from scoring.job.inputs import ColumnConfig, TimeZone
from scoring.job.model import ModelConfig, ModelVersionConfig
from scoring.job.model_problems import problems_of_model
from scoring.job.output import OutputConfig
from scoring.job.partitions import Kind, Partition, parse_key, partitions_between
from scoring.job.run import RunConfig
from scoring.job.section import Problem, Section
from scoring.job.source import SourceConfig

NAME = r"[A-Za-z][A-Za-z0-9_-]{0,99}"
"""A job's name, which is a Dag id too."""
TagText = Annotated[str, Field(min_length=1, max_length=100)]
RowId = Annotated[
    Annotated[Literal["row_number"], Tag("place")]
    | Annotated[list[str], Field(min_length=1), Tag("columns")],
    Discriminator(lambda value: "place" if value == "row_number" else "columns"),
]


class Job(Section):
    """One scoring job."""

    name: Annotated[
        str,
        Field(
            pattern=f"^{NAME}$",
            description="The job's name, which is also the Dag id and the file's name without "
            "`.yaml`: letters, digits, `_` and `-`, beginning with a letter; at most 100 "
            "characters.",
        ),
    ]
    description: Annotated[
        str,
        Field(
            description="One sentence, shown in the list of Dags and in the Dag's documentation."
        ),
    ] = ""
    owner: Annotated[
        str,
        Field(
            max_length=500,
            description="Who is responsible for the job. Airflow shows the owner of the Dag and "
            "its tasks.",
        ),
    ] = "airflow"
    tags: Annotated[
        list[TagText],
        Field(description="Tags for Airflow's Dag filter. The tag `scoring` is always added."),
    ] = []
    schedule: Annotated[
        str,
        AfterValidator(schedule.check_cron),
        Field(
            description="A cron expression of five fields that gives every partition exactly one "
            "run. A run starts when its data interval ends."
        ),
    ]
    timezone: Annotated[
        TimeZone,
        Field(
            description="The IANA time zone of partitions and schedule, such as `America/New_York`."
        ),
    ] = "UTC"
    start: Annotated[
        str,
        Field(
            description="The [key](#partitions-and-their-keys) of the first partition, such as "
            "`2013-02`."
        ),
    ]
    end: Annotated[
        str | None,
        Field(
            description="The key of the last partition. By default there is none. Equal to "
            "`start`, the job has one partition."
        ),
    ] = None
    partition: Annotated[Kind, Field(description="The period that one run scores.")] = "month"
    source: Annotated[SourceConfig, Field(description="Where the rows come from.")]
    leave_out: Annotated[
        dict[LeftOutReason, Expression],
        Field(
            description="Rows that are not to be scored, by intention: a SQL "
            "[expression](#expressions) over one row by reason. A row for which it is true is left "
            "out under that reason, the first one that applies, and is never quarantined."
        ),
    ] = {}
    row_id: Annotated[
        RowId,
        Field(
            description="The columns that identify a row, none of them called `row`, `reason`, "
            "`column` or `value`. Rows with a null in one of them, or with the id of an earlier "
            "row, are quarantined. `row_number` is for rows without such columns: the "
            "[place in the source](#rows-without-a-key) identifies a row.",
        ),
    ]
    inputs: Annotated[
        dict[str, ColumnConfig],
        Field(
            description="The contract: the model's inputs by column name, in the order of the "
            "DataFrame's columns. Required, but for [MLflow models](#mlflow-models): by default, "
            "their signature is the contract.",
        ),
    ] = {}
    model: Annotated[
        ModelConfig | None,
        Field(
            description="The model's versions, and which of them scores which partition. Required "
            "unless there is a `scorer`."
        ),
    ] = None
    challengers: Annotated[
        list[str],
        Field(
            description="Versions of the model that score the same rows beside the one in force: "
            "[challengers](candidates.md#challengers). Their predictions are compared with the "
            "published ones, and never published."
        ),
    ] = []
    scorer: Annotated[
        str | None,
        Field(
            min_length=1,
            description="A Python file, or a [notebook](#a-notebook-as-scorer) (`.ipynb`), with a "
            "[function `run`](#a-scorer-of-your-own), in the job file's folder or a subfolder of "
            "it.",
        ),
    ] = None
    output: Annotated[OutputConfig, Field(description="The published columns.")] = OutputConfig()
    destination: Annotated[DestinationConfig, Field(description="Where partitions are published.")]
    actuals: Annotated[
        ActualsConfig | None,
        Field(
            description="Where the true values are, once they are known: [how wrong the predictions "
            "were](monitoring.md#actuals)."
        ),
    ] = None
    checks: Annotated[
        ChecksConfig, Field(description="Conditions that a partition must meet to be published.")
    ] = ChecksConfig()
    run: Annotated[RunConfig, Field(description="How Airflow runs the job.")] = RunConfig()
    alerts: Annotated[
        list[AlertConfig],
        Field(description="Notifications of what the job's runs come to."),
    ] = []

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def first_partition(self) -> Partition:
        return self.parse(self.start)

    @property
    def last_partition(self) -> Partition | None:
        return self.parse(self.end) if self.end is not None else None

    @property
    def columns(self) -> list[str]:
        """The columns that the contract is checked on: row ids, inputs, kept and date column."""
        dates = [self.source.date_column] if self.source.date_column else []
        return list(dict.fromkeys([*self.leading_columns, *self.inputs, *self.output.keep, *dates]))

    @property
    def id_columns(self) -> list[str]:
        """The columns that identify a row."""
        return [ROW_NUMBER] if self.row_id == "row_number" else list(self.row_id)

    @property
    def added_columns(self) -> list[str]:
        """The columns that are made of a row's place in the source; the source has none of them."""
        if self.row_id != "row_number":
            return []
        return [ROW_NUMBER, FILE] if self.source.has_files else [ROW_NUMBER]

    @property
    def leading_columns(self) -> list[str]:
        """The columns that say which row it is; they stand first in every table."""
        return list(dict.fromkeys([*self.id_columns, *self.added_columns]))

    @property
    def kept_columns(self) -> list[str]:
        """Row ids and kept columns: the columns that are published besides the outputs."""
        return list(dict.fromkeys([*self.leading_columns, *self.output.keep]))

    def is_own(self, name: str) -> bool:
        """Return whether ``name``, in a manifest, is a current or former name of this job."""
        return name == self.name or name in self.destination.former_names

    @property
    def version_names(self) -> list[str]:
        return [v.version for v in self.model.versions] if self.model else []

    def parse(self, key: str) -> Partition:
        """Parse a partition key; raise PartitionError if it is invalid."""
        return parse_key(key, self.partition, self.zone)

    def partition_to_score(self, key: str) -> Partition:
        """Parse a partition key; raise PartitionError also before ``start`` or after ``end``."""
        wanted, last = self.parse(key), self.last_partition
        if wanted < self.first_partition or (last and last < wanted):
            until = f"to {self.end}" if self.end else "on"
            raise PartitionError(
                f"{self.name} has no partition {key}: its partitions are from {self.start} {until}"
            )
        return wanted

    def partitions_to_score(self, texts: Iterable[str]) -> list[Partition]:
        """Return the partitions that keys and ranges (``2013-02..2013-05``) name, each once, in
        order; raise PartitionError as ``partition_to_score`` does.
        """
        found: set[Partition] = set()
        for text in texts:
            first, dots, last = text.partition("..")
            start = self.partition_to_score(first)
            end = self.partition_to_score(last) if dots else start
            if end < start:
                raise PartitionError(f"{text!r} ends before it begins; write {last}..{first}")
            found.update(partitions_between(start, end))
        return sorted(found)

    def challengers_of(self, version: str) -> list[str]:
        """Return the challengers of a partition that the model ``version`` scores."""
        return [name for name in self.challengers if name != version]

    @property
    def history(self) -> list[tuple[Partition, ModelVersionConfig]]:
        """Return the versions of the model but its candidates, and the first partition of each, in
        that order.
        """
        versions = self.model.versions if self.model else []
        found = [(self.parse(v.in_force_from), v) for v in versions if v.in_force_from is not None]
        return sorted(found, key=lambda pair: pair[0])

    def version_for(self, partition: Partition, pinned: str | None = None) -> ModelVersionConfig:
        """Return the model version that scores ``partition``: ``pinned``, or by the job's policy.

        ``as_of``: the version with the latest ``in_force_from`` that is not after the partition.
        ``current``: the version with the latest ``in_force_from`` of all.
        Raises ModelError where no version was in force yet, or ``pinned`` is not in the job.
        """
        if self.model is None:
            raise ModelError(f"{self.name} has no model, so no model version can be selected")
        if pinned is not None:
            for version in self.model.versions:
                if version.version == pinned:
                    return version
            for version in self.model.versions:
                if found := version.pinned_to(pinned):
                    return found
            raise ModelError(
                f"{self.name} has no model version '{quoted(pinned, 64)}'; it has "
                f"{', '.join(self.version_names)}"
            )
        history = self.history
        if self.model.policy == "current":
            return history[-1][1]
        in_force = [version for since, version in history if not partition < since]
        if not in_force:
            since, first = history[0]
            raise ModelError(
                f"no model version of {self.name} was in force in {partition.key}: the first, "
                f"{first.version}, is in force from {since.key}; nothing was "
                "scored. Select a version with model_version, or add an earlier one to "
                "model.versions"
            )
        return in_force[-1]

    def problems(self) -> Iterator[Problem]:
        """Report fields that are valid by themselves, but contradict each other."""
        for loc, problem in self.destination.problems():
            yield ("destination", *loc), problem
        for loc, problem in self.source.problems():
            yield ("source", *loc), problem
        yield from self._key_problems()
        yield from self._column_problems()
        yield from problems_of_reasons(self)
        yield from problems_of_drift(self)
        yield from problems_of_actuals(self)
        for i, alert in enumerate(self.alerts):
            yield from ((("alerts", i, *loc), problem) for loc, problem in alert.problems())
        yield from problems_of_model(self)

    def _key_problems(self) -> Iterator[Problem]:
        keys: list[tuple[tuple[str | int, ...], str]] = [(("start",), self.start)]
        if self.end is not None:
            keys.append((("end",), self.end))
        for i, version in enumerate(self.model.versions if self.model else []):
            if version.in_force_from is not None:
                keys.append((("model", "versions", i, "in_force_from"), version.in_force_from))
        digests = [(("source", "sha256", key), key) for key in self.source.sha256]
        wrong = False
        for loc, key in [*keys, *digests]:
            try:
                self.parse(key)
            except PartitionError as error:
                wrong = True
                yield loc, str(error)
        if wrong:
            return
        last = self.last_partition
        if last and last < self.first_partition:
            yield ("end",), f"{self.end} is before start, {self.start}"
        for loc, key in digests:
            try:
                self.partition_to_score(key)
            except PartitionError as error:
                yield loc, str(error)
        problem = schedule.schedule_mismatch(self.schedule, self.first_partition, self.zone)
        if problem:
            yield ("schedule",), problem

    @property
    def has_inputs_of_model(self) -> bool:
        """Whether the contract is the signature of the model, as each version has it."""
        return not self.inputs

    def _column_problems(self) -> Iterator[Problem]:
        of_model = self.model and self.model.has_signatures and not self.scorer
        if not self.inputs and not of_model:
            yield ("inputs",), "missing; list the columns that the model gets, and their types"
        for name, column in self.inputs.items():
            yield from ((("inputs", name, *loc), problem) for loc, problem in column.problems())
        if self.model is None and self.output.probabilities:
            yield ("output", "probabilities"), "requires a model with predict_proba"
        yield from problems_of_columns(self)
