"""Wait until Airflow has scored every month of a job, and report what failed.

Airflow decides what to do: its catchup creates one run per month. This module only watches, and
ends in every case: all runs succeeded, a run failed, or nothing can go on (the Dag is paused, or
its file is broken).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from devstack.airflow.api import AirflowApi, Dag, DagRun, NotReachable, TaskInstance
from devstack.airflow.task_log import failure_reason
from devstack.errors import DevstackError
from scoring.job.partitions import partition_at, partitions_between
from scoring.job.schema import Job

OF_A_MONTH = ("scheduled", "backfill")  # run types; manual runs are the user's own affair
POLL_SECONDS = 1.0  # each poll costs the API server 0.1 s of CPU, which the tasks need too
FINISHED = ("success", "failed")
PARSE_TIMEOUT_SECONDS = 300.0  # to start and to read the Dag's file; takes 15 s on two cores
OTHER_FILES_SECONDS = 15.0  # when a file could not be read, the Dag may still come from another


@dataclass
class Months:
    """The months of one job, seen through Airflow's API; `pause` waits between two polls."""

    api: AirflowApi
    job: Job
    published: Callable[[], set[str]]  # keys of the partitions that have a manifest
    task_logs: Path
    pause: Callable[[float], None]
    say: Callable[[str], None]
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def let_airflow_score(self) -> None:
        """Return when Airflow knows the job's Dag and has runs for all that is missing."""
        deadline = time.monotonic() + PARSE_TIMEOUT_SECONDS
        while not (self.api.is_ready() and self._set_to_work()):
            if time.monotonic() > deadline:
                raise DevstackError(
                    f"timed out after {PARSE_TIMEOUT_SECONDS:.0f} s: Airflow does not find the Dag "
                    f"{self.job.name!r} in its Dags folder"
                )
            self.pause(POLL_SECONDS)

    def _set_to_work(self) -> bool:
        """Clear the runs that failed and those whose result is gone; catchup creates the missing
        ones.
        """
        try:
            dag = self.api.dag(self.job.name)
            if dag is None or dag.is_stale or not self._is_current(dag.last_parsed):
                self._check_imports()
                return False
            runs, published = self._runs(), self.published()
            failed = [run for run in runs if run.state == "failed"]
            gone = [r for r in runs if r.state == "success" and self._key(r) not in published]
            for run in [*failed, *gone]:
                self.api.run_again(self.job.name, run.run_id, only_failed_tasks=run in failed)
            if dag.is_paused:
                self.api.unpause(self.job.name)
        except NotReachable:
            return False
        for what, again in (("failed before", failed), ("published before, but gone", gone)):
            if again:
                self.say(f"{what}, scored again: {', '.join(map(self._key, again))}")
        return True

    def wait_until_scored(self, show: Callable[[int, int, list[str]], None]) -> None:
        """Return when every month's run has succeeded; DevstackError names the failed ones, after
        all have ended.
        """
        reported: set[TaskInstance] = set()
        while True:
            try:
                dag = self.api.dag(self.job.name)
                runs = self._runs()
                retrying = self.api.task_instances(self.job.name, ["up_for_retry"])
            except NotReachable:
                self.pause(POLL_SECONDS)
                continue
            for task in retrying:
                if task not in reported:
                    reported.add(task)
                    self.say(f"will be retried: {self._describe(task, runs)}")
            running = [self._key(run) for run in runs if run.state == "running"]
            show(sum(run.state == "success" for run in runs), self._total(), running)
            if dag is None or dag.is_stale:
                raise DevstackError(
                    f"Airflow no longer finds the Dag {self.job.name!r} in its folder"
                )
            if _nothing_to_come(dag) and all(run.state in FINISHED for run in runs):
                return self._check_success(runs)
            if dag.is_paused:
                raise DevstackError(
                    f"the Dag {self.job.name!r} has been paused, so its months will not be scored. "
                    "Unpause it in the web UI, or call `make run` again."
                )
            self.pause(POLL_SECONDS)

    def _runs(self) -> list[DagRun]:
        return [run for run in self.api.runs(self.job.name) if run.run_type in OF_A_MONTH]

    def _key(self, run: DagRun) -> str:
        if run.data_interval_start is None:
            return run.run_id
        return partition_at(run.data_interval_start, self.job.partition, self.job.zone).key

    def _total(self) -> int:
        now = datetime.now(UTC)
        last = self.job.last_partition or partition_at(now, self.job.partition, self.job.zone)
        return sum(p.end <= now for p in partitions_between(self.job.first_partition, last))

    def _is_current(self, moment: datetime | None) -> bool:
        """Return whether ``moment`` belongs to this call: the database remembers earlier ones."""
        return moment is not None and moment >= self.started

    def _check_imports(self) -> None:
        """Raise when Airflow could not read a file: it may be the one that defines the Dag."""
        failures = [f for f in self.api.import_failures() if self._is_current(f.seen)]
        if not failures:
            return
        first_seen = min(failure.seen for failure in failures)
        if (datetime.now(UTC) - first_seen).total_seconds() > OTHER_FILES_SECONDS:
            texts = (f"{failure.file}:\n{failure.message}" for failure in failures)
            raise DevstackError(
                f"Airflow finds no Dag {self.job.name!r}, and could not read:\n" + "\n".join(texts)
            )

    def _check_success(self, runs: list[DagRun]) -> None:
        failed = [run for run in runs if run.state == "failed"]
        if not failed:
            self._check_published(runs)
            return
        ids = {run.run_id for run in failed}
        tasks = [t for t in self.api.task_instances(self.job.name, ["failed"]) if t.run_id in ids]
        lines = [self._describe(task, runs) for task in tasks]
        named = {task.run_id for task in tasks}
        lines += [f"{self._key(run)}: no task failed" for run in failed if run.run_id not in named]
        raise DevstackError(
            f"{len(failed)} of {len(runs)} months failed:\n  "
            + "\n  ".join(lines)
            + "\nThe other months are published. `make run` retries the failed ones."
        )

    def _check_published(self, runs: list[DagRun]) -> None:
        """Raise if a month is not published: a run without tasks succeeds too."""
        missing = {self._key(run) for run in runs} - self.published()
        if missing or not runs:
            raise DevstackError(
                f"Airflow's runs of {self.job.name!r} succeeded, but these months are not "
                f"published: " + (", ".join(sorted(missing)) or "there was no run")
            )

    def _describe(self, task: TaskInstance, runs: list[DagRun]) -> str:
        """Return the month and task, the reason of the failure, and the path of the log."""
        month = next((self._key(run) for run in runs if run.run_id == task.run_id), task.run_id)
        folder = self.task_logs / f"dag_id={self.job.name}" / f"run_id={task.run_id}"
        folder /= f"task_id={task.task_id}"
        if task.map_index >= 0:
            folder /= f"map_index={task.map_index}"
        log = folder / f"attempt={task.try_number}.log"
        what = f"{month}: task {task.task_id} failed (try {task.try_number})"
        reason = failure_reason(log)
        return f"{what}: {reason}\n    log: {log}" if reason else f"{what}; log: {log}"


def _nothing_to_come(dag: Dag) -> bool:
    """Return whether catchup has created all of its runs."""
    return dag.next_run_after is None or dag.next_run_after > datetime.now(UTC)
