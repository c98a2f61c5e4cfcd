"""How the tasks of a job are retried."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import airflow.sdk

LONGEST_PAUSE = timedelta(minutes=30)


def retry_arguments(first: timedelta, retries: int) -> dict[str, Any]:
    """Return the arguments of a task that is retried with exponential backoff.

    Airflow 3.2 has no retry policies, so Airflow's own backoff is used there.  It counts every try
    that the task has ever had, also those before it was cleared.

    :param first: the shortest pause before the second try.
    :param retries: how often a failed task is tried again.
    """
    arguments = {"retries": retries, "retry_delay": first}
    if not hasattr(airflow.sdk, "RetryPolicy"):
        return arguments | {"retry_exponential_backoff": True, "max_retry_delay": LONGEST_PAUSE}
    from scoring_airflow.backoff import ExponentialBackoff

    return arguments | {"retry_policy": ExponentialBackoff(first, retries)}
