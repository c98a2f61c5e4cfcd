"""The run section of a job file: how Airflow runs the job."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scoring.job.section import Section


class RunConfig(Section):
    """How Airflow runs the job.

    The limits are those of Airflow, its database (lengths of strings, 32-bit integers) and
    ``timedelta``.
    """

    queue: Annotated[
        str | None,
        Field(
            max_length=256,
            description="The queue of the tasks, by default Airflow's default queue.",
        ),
    ] = None
    pool: Annotated[
        str | None,
        Field(
            max_length=256,
            description="The pool of the tasks, by default Airflow's default pool. It must exist, "
            "see below.",
        ),
    ] = None
    executor: Annotated[
        str | None,
        Field(
            max_length=1_000,
            description="One of the executors in Airflow's `core.executor`, such as "
            "`CeleryExecutor`. By default the first of them.",
        ),
    ] = None
    aws_conn_id: Annotated[
        str | None,
        Field(
            max_length=250,
            description="The Airflow connection with the credentials and the endpoint for `s3://`. "
            "By default the environment variable `SCORING_AWS_CONN_ID`, else boto3's default "
            "credential chain.",
        ),
    ] = None
    mlflow_conn_id: Annotated[
        str | None,
        Field(
            max_length=250,
            description="The Airflow connection (type HTTP) of the MLflow server for `mlflow:` URIs. "
            "By default, and in the shell, the environment variable `MLFLOW_TRACKING_URI`.",
        ),
    ] = None
    shard_rows: Annotated[
        int,
        Field(
            ge=1_000,
            le=1_000_000_000,
            description="Source rows of one shard, which one `score` task scores.",
        ),
    ] = 1_000_000
    max_active_runs: Annotated[
        int, Field(ge=1, le=1_000, description="Partitions that are scored at the same time.")
    ] = 4
    retries: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="Retries of a task that fails with a transient error of the source or of "
            "publication.",
        ),
    ] = 3
    retry_delay_seconds: Annotated[
        float,
        Field(
            ge=0.001,
            le=86_400,
            description="Seconds before the first retry. The delay about doubles with each retry "
            "since the run started or was cleared, up to 30 minutes.",
        ),
    ] = 60.0
    execution_timeout_minutes: Annotated[
        float | None,
        Field(
            ge=0.001,
            le=44_640,
            description="Minutes after which a task is stopped and retried like one that failed.",
        ),
    ] = None
    deadline_hours: Annotated[
        float | None,
        Field(
            ge=0.0001,
            le=8_784,
            description="Hours after being queued at which an unfinished run is late. A late run "
            "continues, and [alerts](#alerts) are sent.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_024,
            description="Threads of one scoring process. By default the cores that a worker may "
            "use are shared among its tasks: a Celery worker with 4 cores and `worker_concurrency` "
            "2 gives each task 2 threads, a pod with 4 cores gives its one task 4. Where other "
            "processes use the machine too, `LOKY_MAX_CPU_COUNT` in a worker's environment limits "
            "the cores.",
        ),
    ] = None
    exact_trees: Annotated[
        bool,
        Field(
            description="`true`: scikit-learn's ensembles of trees are evaluated by code of our own "
            "[where that gives the same bits](#exact-trees). `false`: by scikit-learn.",
        ),
    ] = True
