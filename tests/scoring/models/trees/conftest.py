from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from scoring.models.trees.compiled import kernels
from tests.compiled import needed


@pytest.fixture(autouse=True, scope="session")
def compiled() -> None:
    needed(kernels())


@pytest.fixture(autouse=True)
def one_openmp_thread() -> Iterator[None]:
    """Tests of other folders fork this process, and a fork waits for OpenMP's threads in vain."""
    with threadpool_limits(1, user_api="openmp"):
        yield
