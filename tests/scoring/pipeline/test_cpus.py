"""Cores and threads: as the kernel counts them, not as the machine has them."""

from __future__ import annotations

import os
import sys

import pytest

from scoring.pipeline import cpus as cores
from scoring.pipeline.cpus import available_cores, threads_of_each
from tests.scoring.factories import in_process


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a process to cores")
def test_only_the_cores_that_the_process_may_use_count():
    all_of_them = os.sched_getaffinity(0)

    def on_one_core() -> None:
        os.sched_setaffinity(0, {min(all_of_them)})
        assert (available_cores(), threads_of_each(1), threads_of_each(16)) == (1, 1, 1)

    assert in_process(on_one_core) == 0
    assert 1 <= available_cores() <= len(all_of_them)


@pytest.mark.parametrize(
    ("available", "tasks", "threads"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 16, 1), (1, 1, 1)]
)
def test_tasks_share_the_cores(
    available: int, tasks: int, threads: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cores, "available_cores", lambda: available)
    assert threads_of_each(tasks) == threads
