"""A package that is not ours adds a source kind, a model kind and a destination kind."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

KINDS = '''\
"""Kinds of a package of its own: numbers that are counted, a slope, and lines of JSON."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from scoring.destinations.manifest import Manifest, ObjectRecord, parse_manifest
from scoring.sources.base import SourceRecord
from scoring.sources.rechunk import rechunked


class CountedSource:
    """``counted://N``: the numbers from 1 to N."""

    text_only = False

    def __init__(self, job, partition, roots, connections):
        self.uri = roots.expand(job.source.uri, partition)
        self.rows = int(self.uri.removeprefix("counted://"))

    def batches(self, sizes):
        numbers = range(1, self.rows + 1)
        table = pa.table({"id": numbers, "x": [float(n) for n in numbers]})
        return rechunked(iter([table]), sizes, self.uri)

    def record(self, rows):
        digest = hashlib.sha256(self.uri.encode()).hexdigest()
        return SourceRecord(uri=self.uri, rows=rows, bytes=0, sha256=digest, files=[])


class Slope:
    inputs, classes, runtime_versions = ["x"], None, {"kinds": "1.0"}

    def __init__(self, slope):
        self.native = slope

    def predict(self, frame):
        return frame["x"] * self.native

    def predict_proba(self, frame):
        raise NotImplementedError


def load_slope(data, file, trusted_types):
    return Slope(json.loads(data)["slope"])


class LinesPublisher:
    """``lines://FOLDER``: a file of JSON lines for each partition."""

    def __init__(self, job, roots, connections):
        self.uri = roots.expand(job.destination.uri)
        self.folder = Path(self.uri.removeprefix("lines://"))
        self.staging = str(self.folder / "staging")
        self.held = str(self.folder / "held")

    def published(self, partition):
        path = self.folder / f"{partition.key}.manifest"
        return parse_manifest(path.read_bytes(), str(path)) if path.exists() else None

    def all_published(self):
        for path in sorted(self.folder.glob("*.manifest")):
            yield parse_manifest(path.read_bytes(), str(path))

    def columns(self, but=None):
        return None

    def mark(self, partition):
        found = self.published(partition)
        return found.identity if found else None

    def check_writable(self, partition):
        self.folder.mkdir(exist_ok=True)

    @contextmanager
    def begin(self, partition, mark, run, work, replace_newer=False):
        publication = LinesPublication(self.folder, partition)
        try:
            yield publication
        finally:
            publication.abort()


class LinesPublication:
    def __init__(self, folder, partition):
        self.folder, self.partition, self.lines = folder, partition, []

    def write(self, table):
        self.lines += [json.dumps(row) for row in table.to_pylist()]

    def close(self):
        data = "\\n".join(self.lines).encode()
        self.data = data
        path = self.folder / f"{self.partition.key}.jsonl"
        return ObjectRecord(uri=str(path), bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def write_quarantine(self, tables):
        assert not list(tables)

    def commit(self, manifest):
        Path(manifest.output.uri).write_bytes(self.data)
        (self.folder / f"{self.partition.key}.manifest").write_text(manifest.to_json())
        return manifest

    def abort(self):
        self.lines = []
'''

ENTRY_POINTS = """\
[scoring.sources]
counted = counted_kinds:CountedSource
[scoring.models]
slope = counted_kinds:load_slope
[scoring.destinations]
lines = counted_kinds:LinesPublisher
"""


def build_wheel(folder: Path) -> Path:
    """A wheel of KINDS, as a build tool would make it."""
    info = "counted_kinds-1.0.dist-info"
    files = {
        "counted_kinds.py": KINDS,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: counted-kinds\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": ENTRY_POINTS,
    }
    record = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.append(f"{name},sha256={digest.decode()},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / "counted_kinds-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH into which the package is installed."""
    folder = tmp_path_factory.mktemp("third-party")
    target = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", str(target), str(build_wheel(folder))], check=True)
    return target


def write_job(folder: Path) -> Path:
    (folder / "v1.json").write_text('{"slope": 3.0}')
    digest = hashlib.sha256((folder / "v1.json").read_bytes()).hexdigest()
    version = {"version": "v1", "uri": f"{folder}/v1.json", "format": "slope", "sha256": digest}
    job = {
        "name": "counted",
        "schedule": "0 3 2 * *",
        "start": "2013-02",
        "source": {"uri": "counted://5", "format": "counted"},
        "row_id": ["id"],
        "inputs": {"x": {"type": "float64"}},
        "model": {"versions": [version | {"in_force_from": "2013-02"}]},
        "output": {"prediction": "y"},
        "destination": {"uri": f"lines://{folder}", "format": "lines"},
    }
    path = folder / "counted.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def scoring(*arguments: str | Path, site: Path | None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(site)} if site else {})
    command = [sys.executable, "-m", "scoring", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_package_of_its_own_adds_a_source_a_model_and_a_destination(
    installed: Path, tmp_path: Path
):
    job = write_job(tmp_path)
    run = scoring("run", job, "2013-02", "--json", "--workers", "1", site=installed)
    assert run.returncode == 0, run.stderr
    manifest = json.loads(run.stdout)
    assert manifest["source"]["uri"] == "counted://5"
    assert manifest["model"]["runtime_versions"] == {"kinds": "1.0"}
    rows = [json.loads(line) for line in (tmp_path / "2013-02.jsonl").read_text().splitlines()]
    assert [(row["id"], row["y"]) for row in rows] == [(n, 3.0 * n) for n in range(1, 6)]
    shown = scoring("show", job, "2013-02", "--json", site=installed)
    assert json.loads(shown.stdout) == manifest


def test_without_the_package_the_job_file_says_which_kinds_there_are(tmp_path: Path):
    checked = scoring("check", write_job(tmp_path), site=None)
    assert checked.returncode == 2
    assert "source.format: 'counted' is not allowed; valid values: parquet, csv" in checked.stderr
    assert "destination.format: 'lines' is not allowed; valid values: parquet" in checked.stderr
    assert "'slope' is not allowed; valid values: skops, joblib" in checked.stderr
