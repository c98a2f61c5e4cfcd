"""The pauses between tries, at the try numbers that Airflow gives a task."""

from __future__ import annotations

from datetime import timedelta

import pytest
from scoring_airflow.backoff import ExponentialBackoff

MINUTE = timedelta(minutes=1)


def pause(try_number: int, max_tries: int) -> timedelta:
    decision = ExponentialBackoff(MINUTE, retries=3).evaluate(OSError(), try_number, max_tries)
    assert decision.action.value == "retry"
    assert decision.retry_delay is not None
    return decision.retry_delay


@pytest.mark.parametrize("before", [0, 1, 4, 40], ids="after {} tries".format)
@pytest.mark.parametrize(("since", "shortest"), [(1, 1), (2, 2), (3, 4)])
def test_pauses_double_from_the_last_time_that_the_task_was_cleared(
    before: int, since: int, shortest: int
):
    pauses = [pause(before + since, max_tries=before + 3) for _ in range(200)]
    assert min(pauses) >= shortest * MINUTE
    assert max(pauses) <= 2 * shortest * MINUTE
    assert len(set(pauses)) > 100  # shards that failed together come back one by one


def test_no_pause_is_longer_than_half_an_hour():
    assert {pause(n, max_tries=3) for n in (7, 60, 5000)} == {30 * MINUTE}
