"""One Dag run in the tests' Airflow, whose tasks are run singly by Airflow's own task runner."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.dagrun import DagRun
from airflow.models.trigger import Trigger
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.api.datamodels._generated import TaskInstance
from airflow.sdk.execution_time.supervisor import TaskRunResult, run_task_in_process
from airflow.sdk.module_loading import import_string
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.timetables.base import DataInterval
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

BUNDLE = "dags-folder"


class OneRun:
    """A run of ``dag``, with rows in the database, of which only the tasks that are asked for run.

    ``interval_start`` None stands for a run that was triggered without a logical date.
    """

    def __init__(
        self, dag: DAG, interval_start: datetime | None, run_id: str, conf: Any = None
    ) -> None:
        self.dag = dag
        self.run_id = run_id
        serialized = LazyDeserializedDAG.from_dag(dag)
        interval = None
        if interval_start is not None:
            interval = DataInterval(interval_start, interval_start + timedelta(days=1))
        DagBundlesManager().sync_bundles_to_db()
        with create_session() as session:
            update_dag_parsing_results_in_db(BUNDLE, None, [serialized], {}, 0.0, set(), session)
            run = DagSerialization.deserialize_dag(serialized.data["dag"]).create_dagrun(
                run_id=run_id,
                logical_date=interval_start,
                data_interval=interval,
                run_after=interval_start or datetime.now().astimezone(),
                conf=conf,
                run_type=DagRunType.from_run_id(run_id),
                triggered_by=DagRunTriggeredByType.TEST,
                state=DagRunState.RUNNING,
                session=session,
            )
            assert isinstance(run, DagRun)

    def run(self, task: BaseOperator) -> TaskRunResult:
        """The task's try, through to what the API server has written about it."""
        with create_session() as session:
            run = session.query(DagRun).filter_by(dag_id=self.dag.dag_id, run_id=self.run_id).one()
            row = run.get_task_instance(task.task_id, session=session)
            row.try_number += 1
            row.state = TaskInstanceState.QUEUED
            session.flush()
            instance = TaskInstance.model_validate(row, from_attributes=True)
        return run_task_in_process(ti=instance, task=task)

    def let_trigger_fire(self, task: BaseOperator) -> TriggerEvent:
        """Runs the trigger that the deferred task waits for, as a triggerer makes it, to its event."""
        with create_session() as session:
            run = session.query(DagRun).filter_by(dag_id=self.dag.dag_id, run_id=self.run_id).one()
            row = run.get_task_instance(task.task_id, session=session)
            assert row.state == TaskInstanceState.DEFERRED
            stored = session.get_one(Trigger, row.trigger_id)
            trigger = import_string(stored.classpath)(**stored.kwargs)
            event = asyncio.run(anext(trigger.run()))
            Trigger.submit_event(stored.id, event, session=session)
        return event

    def returned(self, task: BaseOperator) -> Any:
        """What the task returned, as a later task would get it."""
        with create_session() as session:
            found = XComModel.get_many(
                run_id=self.run_id,
                dag_ids=self.dag.dag_id,
                task_ids=task.task_id,
                key=XCOM_RETURN_KEY,
            )
            return XComModel.deserialize_value(session.scalars(found).one())
