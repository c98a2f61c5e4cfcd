"""Two jobs that publish to one place, or one within the other's, are found before they run."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import yaml

from scoring.job.destinations import shared_destinations
from scoring.job.loader import JobFile, load_job
from tests.scoring.factories import JOB, merged


def jobs(folder: Path, *destinations: Any) -> list[JobFile]:
    """Jobs a, b, … with these destinations."""
    files = []
    for number, destination in enumerate(destinations):
        name = f"job_{number:03d}"
        if isinstance(destination, str):
            destination = {"uri": destination}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(merged(JOB, {"name": name, "destination": destination})))
        files.append(load_job(path))
    return files


def pairs(files: list[JobFile], data: str | None = None) -> list[tuple[str, str]]:
    found = shared_destinations(files, data)
    return [(later.job.name[-1], earlier.job.name[-1]) for later, earlier in found]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{data}/out", "{data}/out"),
        ("{data}/out", "{data}/out/"),
        ("{data}/out", "{data}//out"),
        ("{data}/out", "{data}/x/../out/."),
        ("{data}/out", "file://{data}/out"),
        ("{data}/out", "{data}/out/within"),
        ("{data}/out", "{data}/out/within/deeper/"),
        ("{data}/out/within", "{data}/out"),
        ("{data}/models/out", "{models}/out"),
        ("out", "./out"),
        ("out", "../{folder}/out"),
        ("{data}/out", "{data}/link"),
        ("{data}/out/a", "{data}/link/a/b"),
        ("{data}/out", "/"),
        ("/", "{data}/out"),
        ("s3://bucket/out", "s3://bucket/out/"),
        ("s3://bucket/out", "s3://bucket/out/within"),
        ("s3://bucket", "s3://bucket/out"),
        ("s3://bucket/out", "s3://bucket"),
    ],
)
def test_one_place_in_two_spellings_is_one_place(tmp_path: Path, one: str, other: str):
    data = tmp_path / "data"
    (data / "out").mkdir(parents=True)
    (data / "link").symlink_to(data / "out")
    other = other.replace("{folder}", tmp_path.name)
    assert pairs(jobs(tmp_path, one, other), str(data)) == [("1", "0")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{data}/out", "{data}/out2"),
        ("{data}/out", "{data}/OUT"),
        ("{data}/a/out", "{data}/b/out"),
        ("out", "{data}/out"),
        ("s3://bucket/out", "s3://bucket/out-2"),
        ("s3://bucket/out", "s3://bucket2/out"),
        ("s3://a", "s3://b"),
        ("s3://data/out", "/data/out"),
    ],
)
def test_two_places_are_two_places(tmp_path: Path, one: str, other: str):
    assert pairs(jobs(tmp_path, one, other), str(tmp_path / "data")) == []


def test_each_later_job_is_named_with_one_before_it(tmp_path: Path):
    files = jobs(tmp_path, "a", "b", "a/x", "c", "a", "b")
    assert pairs(files) == [("2", "0"), ("4", "0"), ("5", "1")]


def test_a_hundred_jobs_take_a_moment(tmp_path: Path):
    files = jobs(tmp_path, *(f"{{data}}/some/deeper/folder/of/job_{n}" for n in range(100)))
    started = perf_counter()
    assert pairs(files) == []
    assert perf_counter() - started < 0.5  # some 10 ms, on a machine with nothing else to do
