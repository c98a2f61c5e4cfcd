"""Lets a task end before the process that watches it looks whether it has ended.

Airflow's supervisor of a task wakes when the task closes its last pipe, which the kernel does a moment
before the process has ended. On a machine whose cores are busy it takes the core from the task for
that, finds it alive, and looks again only after ``workers.min_heartbeat_interval``, 5 seconds by
default, in which the slot stays occupied (seen in Airflow 3.3.2). Processes of the policy SCHED_BATCH
get as much of the cores as others, but do not interrupt one when they wake:
https://man7.org/linux/man-pages/man7/sched.7.html
"""

import contextlib
import os


def adopt_batch_policy() -> None:
    """Give this process, and those that it forks, the policy SCHED_BATCH; keep one that somebody chose.

    Does nothing on a system without this policy (macOS), or one that does not let it be changed.
    """
    if not hasattr(os, "sched_setscheduler"):
        return
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
