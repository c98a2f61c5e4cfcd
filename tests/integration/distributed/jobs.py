"""The jobs and the data of this folder's stack.

``{data}`` is a folder on the laptop and the bucket on the stack; a job file serves both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests import small_job

YEARS = (2011, 2012, 2013)
MONTHS_OF_YEARS = [f"{year}-{month:02d}" for year in YEARS for month in range(1, 13)]

ELEVEN = [f"2013-{month:02d}" for month in range(2, 13)]
BIG_MONTH = "2013-07"  # its predictions are more than one part of an upload
ROWS = {month: 1_250_000 if month == BIG_MONTH else 130_000 for month in ELEVEN}
SHARD_ROWS = 125_000
NULL_EVERY = 50
SHARDS = {month: -(-rows // SHARD_ROWS) for month, rows in ROWS.items()}

FAILING_SCORER = """\
from pathlib import Path

def run(df, model):
    # Shards have 1,000 flights each, and these are numbered from 1.
    if Path(__file__).with_name("broken").exists() and (df["flight"] == 1501).any():
        raise ValueError("the second shard cannot be scored")
    return df.assign(predicted_delay=model.predict(df[["delay"]]))[["predicted_delay"]]
"""

# Each publisher waits for the other one right before the swap, so that both have seen the same
# month.
TWO_DAGS = """
import time
from datetime import datetime, timezone
from pathlib import Path

from airflow.sdk import DAG, CronDataIntervalTimetable
from scoring_airflow import ExtractOperator, ScoreOperator, UploadOperator

HERE = Path(__file__).parent
CONTESTED = ("2013-03", "2013-04")


class MeetingUpload(UploadOperator):
    def execute(self, context):
        from scoring.destinations.parquet import ParquetPublication

        commit = ParquetPublication.commit

        def meet_and_commit(publication, manifest):
            month = manifest.partition
            (HERE / f"here-{month}-{self.dag_id}").touch()
            while month in CONTESTED and len(list(HERE.glob(f"here-{month}-*"))) < 2:
                time.sleep(0.02)
            return commit(publication, manifest)

        ParquetPublication.commit = meet_and_commit
        return super().execute(context)


for name in ("left", "right"):
    with DAG(
        name,
        schedule=CronDataIntervalTimetable("0 3 2 * *", timezone="UTC"),
        start_date=datetime(2013, 2, 1, tzinfo=timezone.utc),
        end_date=datetime(2013, 4, 30, tzinfo=timezone.utc),
        catchup=False,
        default_args={
            "job_file": str(HERE / "two" / f"{name}.yaml"), "retries": 3, "retry_delay": 1.0,
        },
    ) as dag:
        extract = ExtractOperator(task_id="extract")
        score = ScoreOperator.partial(task_id="score").expand(shard=extract.output)
        MeetingUpload(task_id="upload", scored=score.output)
    globals()[name] = dag
"""


def write_data(folder: Path) -> None:
    """Months of ``three_years`` and ``eleven_months`` below ``folder``."""
    for name in ("years", "eleven"):
        (folder / "flights" / name).mkdir(parents=True)
    for number, month in enumerate(MONTHS_OF_YEARS):
        rows = pa.table({"flight": range(50), "delay": [float(number + i) for i in range(50)]})
        pq.write_table(rows, folder / "flights" / "years" / f"{month}.parquet")
    for number, month in enumerate(ELEVEN):
        # Digits of chance do not compress: the big month's bytes are nearly 16 a row.
        chance = np.random.default_rng(number)
        ids = chance.integers(0, 1 << 62, 2 * ROWS[month])
        ids = np.unique(ids)[: ROWS[month]]
        delay = chance.normal(size=len(ids))
        nulls = np.arange(1, len(ids) + 1) % NULL_EVERY == 0
        rows = pa.table({"flight": chance.permutation(ids), "delay": pa.array(delay, mask=nulls)})
        pq.write_table(rows, folder / "flights" / "eleven" / f"{month}.parquet")


def write_jobs(dags: Path) -> None:
    """All job files and the Dag file of the two Dags into the folder of Dag files."""
    folder = dags / "jobs"
    write_flight_delay(folder)
    small_job.write_job(
        folder,
        name="three_years",
        start=MONTHS_OF_YEARS[0],
        end=MONTHS_OF_YEARS[-1],
        source={"uri": "{data}/flights/years/{partition}.parquet"},
        model=_one_version("v1", MONTHS_OF_YEARS[0]),
        destination={"uri": "{data}/predictions/three_years"},
        run={"max_active_runs": 8},
    )
    (folder / "failing.py").write_text(FAILING_SCORER)
    small_job.write_job(
        folder,
        name="failing_shard",
        end="2013-02",
        inputs={"flight": {"type": "int64"}, **small_job.JOB["inputs"]},
        scorer="failing.py",
        destination={"uri": "{data}/predictions/failing_shard"},
    )
    small_job.write_job(
        folder,
        name="without_broker",
        end="2013-02",
        destination={"uri": "{data}/predictions/without_broker"},
    )
    small_job.write_job(
        folder,
        name="eleven_months",
        start=ELEVEN[0],
        end=ELEVEN[-1],
        source={"uri": "{data}/flights/eleven/{partition}.parquet"},
        model={
            "policy": "as_of",
            "versions": [
                {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": ELEVEN[0]},
                {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2014-01"},
            ],
        },
        destination={"uri": "{data}/predictions/eleven_months"},
        run={"shard_rows": SHARD_ROWS, "retries": 10, "retry_delay_seconds": 2},
    )
    (dags / "two").mkdir()
    for name, version in {"left": "v1", "right": "v2"}.items():
        small_job.write_job(
            dags / "two",
            name=name,
            model=_one_version(version, "2013-02"),
            # Each takes what the other has published for its own, so that the two contend for
            # months.
            destination={"uri": "{data}/predictions/two", "former_names": ["left", "right"]},
        )
    (dags / "two_dags.py").write_text(TWO_DAGS)


def write_flight_delay(folder: Path) -> None:
    """The default job as it is, but in shards that both workers get some of."""
    job: dict[str, Any] = yaml.safe_load(Path("dags/jobs/flight_delay.yaml").read_text())
    job["run"]["shard_rows"] = 15_000
    (folder / "flight_delay.yaml").write_text(yaml.safe_dump(job, sort_keys=False))


def _one_version(version: str, start: str) -> dict[str, Any]:
    return {
        "versions": [
            {"version": version, "uri": f"{{models}}/{version}.skops", "in_force_from": start}
        ]
    }
