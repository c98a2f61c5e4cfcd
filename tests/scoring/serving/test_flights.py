"""A real month over HTTP: every one of its 28,796 rows has the published bits, or the same reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import old_python
from tests.scoring.factories import Place
from tests.scoring.serving.conftest import ROOT, Service, Start

MONTH, ROWS = "2013-05", 28_796
JOB = ROOT / "dags" / "jobs" / "flight_delay.yaml"

_TRAIN = """
import sys, joblib, pandas as pd
from sklearn.ensemble import GradientBoostingRegressor
flights = pd.read_parquet(sys.argv[1]).dropna(subset=["dep_delay", "arr_delay"])
x = flights[["hour", "distance", "dep_delay"]].astype({"distance": "float64"})
joblib.dump(GradientBoostingRegressor(random_state=0, n_estimators=20).fit(x, flights.arr_delay), sys.argv[2])
"""


def scoring(*arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "scoring", *arguments],
        cwd=ROOT, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flights and the two models of the example, and its job published for the month."""
    data = tmp_path_factory.mktemp("flights")
    subprocess.run(
        [sys.executable, "-m", "examples", "--data", str(data)], cwd=ROOT, check=True,
        capture_output=True,
    )  # fmt: skip
    scoring("run", str(JOB), MONTH, "--data", str(data))
    return data


@pytest.fixture
def place(flights: Path, tmp_path: Path) -> Place:
    """The job's folder; its data are those of all tests of this module."""
    found = Place(tmp_path)
    found.data = flights
    (tmp_path / JOB.name).write_bytes(JOB.read_bytes())
    return found


def parity(service: Service, place: Place, job: str, *options: str) -> Any:
    report = place.folder / "report.json"
    jobs, data = ("--jobs", str(place.folder)), ("--data", str(place.data))
    scoring(
        "parity", job, MONTH, *jobs, *data, "--url", service.url, "--report", str(report), *options
    )
    return json.loads(report.read_text())["rows"]


def test_all_rows_of_a_month_have_the_published_bits_or_the_same_reason(place: Place, start: Start):
    service = start(place, "--workers", "4")
    for options in ([], ["--arrow"]):
        rows = parity(service, place, "flight_delay", *options)
        assert rows["in"] == ROWS
        assert (rows["scored"], rows["quarantined"]) == (28_233, 563)
    text = service.client.get("/metrics").text
    assert 'status="scored",version="v1"} 56466.0' in text
    alone = start(place)
    rows = parity(alone, place, "flight_delay", "--rows-per-request", "100")
    assert (rows["scored"], rows["quarantined"]) == (28_233, 563)


def test_so_has_a_model_in_an_environment(place: Place, start: Start, environments: Path):
    model = place.data / "models" / "old.pkl"
    source = place.data / "flights" / "year=2013" / "month=01" / "flights.parquet"
    old_python.old_environment().run(_TRAIN, str(source), str(model))
    job = yaml.safe_load(JOB.read_text())
    job["name"] = "old_delay"
    job["destination"] = {"uri": "{data}/predictions/old_delay"}
    job["inputs"] = {name: job["inputs"][name] for name in ("hour", "distance", "dep_delay")}
    job["model"] = {"versions": [old_python.small_version(model)]}
    del job["actuals"]
    (place.folder / "old_delay.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    file = str(place.folder / "old_delay.yaml")
    scoring("run", file, MONTH, "--data", str(place.data))
    rows = parity(start(place, file), place, "old_delay")
    assert (rows["scored"], rows["quarantined"]) == (28_233, 563)
