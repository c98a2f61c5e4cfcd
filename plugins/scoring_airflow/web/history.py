"""The course of a job over time, for the pages that show it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from scoring.job.loader import JobFile
from scoring.monitoring.timeline import Point, timeline
from scoring_airflow.web.jobs import (
    PATIENCE_SECONDS,
    CoveredJob,
    connections,
    forget_connections,
    in_words,
    not_answered,
)


@dataclass(frozen=True)
class History:
    """The figures of all partitions of a job that have ended; ``problem`` says why there are none."""

    points: tuple[Point, ...] = ()
    problem: str | None = None

    @property
    def published(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.figures)


def history(of: CoveredJob) -> History:
    """Return what is known of the partitions that ``of`` has; what goes wrong is its ``problem``."""
    if of.file is None or of.problem is not None:
        return History()
    threads = ThreadPoolExecutor(1, thread_name_prefix="scoring-history")
    try:
        points = threads.submit(_points, of, of.file).result(PATIENCE_SECONDS)
    except TimeoutError:
        return History(problem=not_answered())
    except Exception as error:  # noqa: BLE001 - the rest of the page is shown
        forget_connections(of.file.job)
        return History(problem=in_words(error, f"the figures of {of.name}"))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
    return History(tuple(points))


def _points(of: CoveredJob, file: JobFile) -> list[Point]:
    partitions = [covered.partition for covered in of.partitions]
    return timeline(file.job, file.roots(), connections(file.job), partitions)
