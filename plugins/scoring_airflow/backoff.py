"""ExponentialBackoff: a retry policy whose pauses start over when the task is cleared (Airflow
3.3).
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import RetryDecision, RetryPolicy

from scoring_airflow.retry import LONGEST_PAUSE

if TYPE_CHECKING:
    from airflow.sdk import Context

_DOUBLINGS = 32  # at most: more would be too large for a timedelta, and are over the longest pause


class ExponentialBackoff(RetryPolicy):  # type: ignore[misc]  # mypy does not read Airflow
    """Exponential backoff with jitter, so that shards do not retry all at once.

    Airflow's own ``retry_exponential_backoff`` counts every try that a task has ever had. A month
    that was scored again or cleared a few times would wait for half an hour after its first
    failure. Here clearing the task resets the pause.

    Airflow evaluates it for tasks that fail. A task that dies with its worker waits for
    ``retry_delay``.

    :param first: the shortest pause before the second try.
    :param retries: those of the task.
    """

    def __init__(self, first: timedelta, retries: int) -> None:
        self.first = first
        self.retries = retries

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        # Clearing a task sets max_tries to the tries it has had and its retries.
        before = max_tries - self.retries
        doublings = min(max(0, try_number - before - 1), _DOUBLINGS)
        pause = min(self.first, LONGEST_PAUSE) * 2**doublings * random.uniform(1, 2)
        return RetryDecision.retry(min(pause, LONGEST_PAUSE))
