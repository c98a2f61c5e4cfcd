from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

from scoring.models.trees.compiled import kernels


@pytest.fixture(autouse=True, scope="session")
def compiled() -> None:
    """Only where there is no compiler may the compiled part be missing."""
    if kernels() is None:
        compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
        assert shutil.which(compiler) is None, "the compiled part is missing: make setup"
        pytest.skip("there is no compiler, so there is no compiled part")


@pytest.fixture(autouse=True)
def one_openmp_thread() -> Iterator[None]:
    """Tests of other folders fork this process, and a fork waits for OpenMP's threads in vain."""
    with threadpool_limits(1, user_api="openmp"):
        yield
