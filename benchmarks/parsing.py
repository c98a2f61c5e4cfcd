"""How long Airflow takes to parse the loader with 1 and with 100 job files, and each file on top.

Also with 100 jobs that have ``actuals``, and so a second Dag each.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

JOBS = 100
ROUNDS = 5

# A process of its own, as the Dag processor forks one for each parse.  Airflow itself is imported
# before the clock starts, as it is in the Dag processor.
_PARSE = """
import json, sys, time
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
folder = Path(sys.argv[1])
started = time.perf_counter()
bag = BundleDagBag(dag_folder=folder / "scoring_jobs.py", bundle_path=folder, bundle_name="bench")
seconds = time.perf_counter() - started
assert not bag.import_errors, bag.import_errors
print(json.dumps({"dags": len(bag.dags), "seconds": seconds}))
"""


def run(dags: Path, folder: Path) -> dict[str, object]:
    """Parse each of the folders in turn; return medians."""
    one, many = (_folder_with(count, dags, folder / f"dags-{count}") for count in (1, JOBS))
    evaluated = _folder_with(JOBS, dags, folder / "dags-actuals", actuals=True)
    of_one, of_many, of_evaluated = [], [], []
    for _ in range(ROUNDS):
        of_one.append(_parse(one, folder, 1))
        of_many.append(_parse(many, folder, JOBS))
        of_evaluated.append(_parse(evaluated, folder, 2 * JOBS))
    return {
        "jobs": JOBS,
        "one_job_seconds": round(median(of_one), 3),
        "all_jobs_seconds": round(median(of_many), 3),
        "all_jobs_with_actuals_seconds": round(median(of_evaluated), 3),
        "each_job_added_ms": round((median(of_many) - median(of_one)) / (JOBS - 1) * 1000, 2),
    }


def _folder_with(count: int, dags: Path, folder: Path, actuals: bool = False) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "jobs").mkdir(parents=True)
    shutil.copy(dags / "scoring_jobs.py", folder)
    job = (dags / "jobs/flight_delay.yaml").read_text(encoding="utf-8")
    if not actuals:
        job, found = re.subn(r"^actuals: .*\n", "", job, flags=re.MULTILINE)
        assert found == 1, "flight_delay has no line `actuals` to leave out"
    for number in range(count):
        text = job.replace("name: flight_delay", f"name: flight_delay_{number}")
        text = text.replace("predictions/flight_delay", f"predictions/flight_delay_{number}")
        (folder / f"jobs/flight_delay_{number}.yaml").write_text(text, encoding="utf-8")
    return folder


def _parse(folder: Path, home: Path, dags: int) -> float:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PARSE, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"error: parsing {folder} failed:\n{done.stderr[-3000:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    if figures["dags"] != dags:
        raise SystemExit(f"error: {figures['dags']} Dags came of {folder}, in place of {dags}")
    return float(figures["seconds"])
