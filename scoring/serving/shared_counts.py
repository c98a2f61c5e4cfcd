"""The folder in which the processes of a service count together (see ``scoring.serving.metrics``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from scoring.storage.temporary import TemporaryFolder

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus_client looks for it, when it is imported."""


@contextmanager
def shared_counts(processes: int) -> Iterator[None]:
    """Let several processes count together within the block; one alone needs no folder."""
    if processes == 1:
        yield
        return
    with closing(TemporaryFolder("serve")) as folder:
        os.environ[FOLDER] = folder.name
        try:
            yield
        finally:
            del os.environ[FOLDER]
