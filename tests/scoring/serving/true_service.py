"""The service itself, in a thread of the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from threadpoolctl import threadpool_limits

from scoring.job.loader import JobFile
from scoring.serving.app import create_app
from scoring.serving.jobs import Jobs
from scoring.serving.settings import Settings


@contextmanager
def served(job_file: JobFile, data: Path, **settings: Any) -> Iterator[str]:
    """Serve the job on a free port; yields the URL."""
    of = Settings(
        paths=(job_file.path,),
        folder=job_file.path.parent,
        clock=lambda: datetime(2013, 3, 1, tzinfo=UTC),
        data=str(data),
        **settings,
    )
    with threadpool_limits(limits={"blas": 1}):
        jobs = Jobs(of)
        jobs.load()
        config = uvicorn.Config(create_app(of, jobs), port=0, log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()
