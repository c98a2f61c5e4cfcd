"""How many cores this process may use, and how many threads a task gets of them.

Two tasks with two threads each take twice as long on two cores as two tasks with one thread each:
tasks and threads together must not be more than the cores.
"""

from __future__ import annotations

from threadpoolctl import threadpool_limits


def available_cores() -> int:
    """Return the cores that this process may use: fewer than the machine has where an affinity mask
    or a container's CPU quota says so; at least 1."""
    import joblib  # here: it is there once scikit-learn is, and takes a while before

    return int(joblib.cpu_count())


def threads_of_each(tasks_at_once: int) -> int:
    """Return how many threads each of so many tasks, which share this process's cores, should have."""
    return max(1, available_cores() // tasks_at_once)


def limited_threads(openmp: int) -> threadpool_limits:
    """Return a context in which OpenMP, such as gradient boosting's, has so many threads.

    BLAS has one: how many share a sum of floats changes its last bits.
    """
    return threadpool_limits(limits={"openmp": openmp, "blas": 1})
