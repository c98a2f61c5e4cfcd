"""The loader ``dags/scoring_jobs.py``, read by Airflow as Airflow reads Dag files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.dag_processing.importers import get_importer_registry
from airflow.dag_processing.manager import DagFileProcessorManager
from airflow.models.dag import DagModel
from airflow.models.errors import ParseImportError
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from scoring_airflow.import_errors import report_import_error

from scoring.errors import JobError
from tests import small_job

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = "dags-folder"


@pytest.fixture
def jobs(dags_folder: Path) -> Path:
    """The folder of job files beside a copy of the loader; it has the jobs ``alpha`` and ``beta``."""
    shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
    for name in ("alpha", "beta"):
        _write(dags_folder / "jobs", name=name)
    return dags_folder / "jobs"


def _write(jobs: Path, name: str, **changes: Any) -> Path:
    """A job file with a destination of its own."""
    own = {"destination": {"uri": f"{{data}}/predictions/{name}"}}
    return small_job.write_job(jobs, name=name, **own | changes)


def _parse(folder: Path) -> BundleDagBag:
    return BundleDagBag(folder, bundle_path=folder, bundle_name=BUNDLE, safe_mode=True)


def _break(jobs: Path, name: str = "broken") -> str:
    """Writes a job with a mistake in its line 10; what its import error has to be."""
    path = _write(jobs, name=name, partition="fortnight")
    lines = path.read_text().splitlines()
    line = lines.index("partition: fortnight") + 1
    return (
        f"{path} is not a valid job file (1 problem):\n"
        f'  line {line}, partition: "fortnight" is not allowed; '
        "valid values: 'month', 'week', 'day' or 'hour'"
    )


def test_the_jobs_of_this_repository_are_right() -> None:
    bag = _parse(REPOSITORY / "dags")
    assert bag.import_errors == {}
    assert set(bag.dags) == {"flight_delay", "flight_delay.evaluate"}
    assert [task.task_id for task in bag.dags["flight_delay"].tasks] == [
        "extract",
        "score",
        "upload",
    ]


def test_one_dag_for_each_job_file(jobs: Path) -> None:
    bag = _parse(jobs.parent)
    assert bag.import_errors == {}
    assert set(bag.dags) == {"alpha", "beta"}


def test_other_files_beside_the_jobs_are_not_jobs(jobs: Path) -> None:
    (jobs / "notes.txt").write_text("no job")
    (jobs / "scorer.py").write_text("raise SystemExit('Airflow must not run this: airflow dag')")
    (jobs / ".airflowignore").write_text("*.py\n")
    bag = _parse(jobs.parent)
    assert (set(bag.dags), bag.import_errors) == ({"alpha", "beta"}, {})


def test_a_wrong_job_is_an_import_error_of_its_own(jobs: Path) -> None:
    message = _break(jobs)
    bag = _parse(jobs.parent)
    assert bag.import_errors == {"jobs/broken.yaml": message}
    assert set(bag.dags) == {"alpha", "beta"}


def test_several_wrong_jobs_are_several_import_errors(jobs: Path) -> None:
    messages = {f"jobs/{name}.yaml": _break(jobs, name) for name in ("alpha", "gamma", "zeta")}
    bag = _parse(jobs.parent)
    assert bag.import_errors == messages
    assert set(bag.dags) == {"beta"}


def test_a_job_that_only_airflow_refuses_does_not_stop_the_others(jobs: Path) -> None:
    # More than Airflow takes for an asset's URI, which is made after the first two tasks.
    _write(jobs, name="long", destination={"uri": "/" + "x" * 2000})
    bag = _parse(jobs.parent)
    assert set(bag.import_errors) == {"jobs/long.yaml"}
    message = bag.import_errors["jobs/long.yaml"]
    assert message.startswith("Traceback")
    assert "Asset uri cannot exceed 1500 characters" in message
    assert set(bag.dags) == {"alpha", "beta"}  # and no half Dag called long


@pytest.mark.parametrize(
    "uri",
    [
        "{data}/predictions/alpha",
        "{data}/predictions/alpha/",
        "{data}/predictions/../predictions/./alpha",
        "file://{data}/predictions/alpha",
        "{data}/predictions/alpha/within",
        "{data}/predictions",
    ],
)
def test_two_jobs_with_one_destination_are_an_import_error_of_the_later_one(
    jobs: Path, uri: str
) -> None:
    path = _write(jobs, name="gamma", destination={"uri": uri})
    _write(jobs, name="zeta")
    bag = _parse(jobs.parent)
    assert set(bag.import_errors) == {"jobs/gamma.yaml"}
    message = bag.import_errors["jobs/gamma.yaml"]
    assert message.startswith(f"{path} is not a valid job file (1 problem):\n  line ")
    assert (
        ", destination.uri: overlaps with the destination of the job alpha (alpha.yaml), "
        "{data}/predictions/alpha" in message
    )
    assert "Give gamma a separate folder" in message
    assert set(bag.dags) == {"alpha", "beta", "zeta"}


def test_a_job_that_is_wrong_does_not_hold_its_destination(jobs: Path) -> None:
    _write(jobs, name="alpha", destination={"uri": "{data}/predictions/gamma"}, row_id=[])
    _write(jobs, name="gamma")
    bag = _parse(jobs.parent)
    assert set(bag.import_errors) == {"jobs/alpha.yaml"}
    assert set(bag.dags) == {"beta", "gamma"}


def test_two_files_cannot_be_one_job(jobs: Path) -> None:
    (jobs / "other.yaml").write_text((jobs / "alpha.yaml").read_text())
    bag = _parse(jobs.parent)
    assert set(bag.import_errors) == {"jobs/other.yaml"}
    assert (
        "rename the file to alpha.yaml, or the job to other" in bag.import_errors["jobs/other.yaml"]
    )
    assert set(bag.dags) == {"alpha", "beta"}


def test_the_error_is_gone_when_the_file_is_fixed(jobs: Path) -> None:
    _break(jobs)
    assert set(_parse(jobs.parent).import_errors) == {"jobs/broken.yaml"}
    _write(jobs, name="broken")
    bag = _parse(jobs.parent)
    assert bag.import_errors == {}
    assert set(bag.dags) == {"alpha", "beta", "broken"}


def test_the_error_stays_with_the_parse_that_found_it(jobs: Path) -> None:
    _break(jobs)
    _break(jobs, "gamma")
    (jobs.parent / "zz_own.py").write_text("from airflow.sdk import DAG\nown = DAG('own')\n")
    bag = _parse(jobs.parent)
    assert set(bag.import_errors) == {"jobs/broken.yaml", "jobs/gamma.yaml"}
    assert set(bag.dags) == {"alpha", "beta", "own"}
    assert "_process_modules" not in vars(get_importer_registry().get_importer("loader.py"))


def test_another_airflow_gets_the_error_itself(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importer = get_importer_registry().get_importer("loader.py")
    monkeypatch.delattr(type(importer), "_process_modules")
    error = JobError("what is wrong")
    with pytest.raises(JobError) as raised:
        report_import_error(jobs / "broken.yaml", error)
    assert raised.value is error


def test_a_task_reads_its_own_job_only(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(jobs)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "beta")
    bag = _parse(jobs.parent)
    assert set(bag.dags) == {"beta"}
    assert bag.import_errors == {}


def test_a_task_of_another_dag_of_the_file_finds_it_beside_the_jobs(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (jobs.parent / "scoring_jobs.py").write_text(
        "from airflow.sdk import DAG\n"
        "from scoring_airflow import load_jobs\n\n"
        'load_jobs("jobs")\n'
        'own = DAG("own", schedule=None)\n'
    )
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "own")
    bag = _parse(jobs.parent)
    assert (set(bag.dags), bag.import_errors) == ({"own"}, {})


def _process(jobs: Path) -> None:
    """What the Dag processor does: find the files, read each in a process, write to the database."""
    DagFileProcessorManager(max_runs=1).run()


def _known(session) -> dict[str, tuple[bool | None, bool]]:
    """Of each Dag in the database: whether it has import errors, and whether it is stale."""
    found = session.query(DagModel).filter(DagModel.dag_id.in_(["alpha", "beta", "broken"]))
    return {dag.dag_id: (dag.has_import_errors, dag.is_stale) for dag in found}


def test_the_dag_processor_keeps_the_other_dags_running(jobs: Path) -> None:
    message = _break(jobs)
    _process(jobs)
    with create_session() as session:
        (error,) = session.query(ParseImportError).all()
        assert (error.filename, error.bundle_name) == ("jobs/broken.yaml", BUNDLE)
        assert error.stacktrace == message  # without a traceback before it
        assert _known(session) == {"alpha": (False, False), "beta": (False, False)}
        assert SerializedDagModel.get("alpha", session=session) is not None

    _write(jobs, name="broken")
    _process(jobs)
    with create_session() as session:
        assert session.query(ParseImportError).all() == []
        assert _known(session) == dict.fromkeys(["alpha", "beta", "broken"], (False, False))

    _break(jobs, "alpha")
    _process(jobs)
    with create_session() as session:
        (error,) = session.query(ParseImportError).all()
        assert error.filename == "jobs/alpha.yaml"
        others = {name: known for name, known in _known(session).items() if name != "alpha"}
        assert others == dict.fromkeys(["beta", "broken"], (False, False))


PARSE = """\
import sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag

folder = Path(sys.argv[1])
bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
assert set(bag.dags) == {"alpha", "beta"}, bag.import_errors
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_parsing_imports_nothing_heavy(jobs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(jobs.parent)],
        capture_output=True,
        text=True,
        env={**os.environ, "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"},
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.splitlines()[-1].split())
    assert "scoring" in imported
    heavy = {"pandas", "pyarrow", "numpy", "scipy", "sklearn", "skops", "joblib", "boto3"}
    assert imported & heavy == set()


def test_a_folder_that_is_not_there_or_empty_is_an_import_error_of_the_dag_file(
    jobs: Path, tmp_path: Path
) -> None:
    dags = tmp_path / "other"
    (dags / "empty").mkdir(parents=True)
    (dags / "file.yaml").write_text("name: file\n")
    for folder, message in (
        ("jobz", r"load_jobs\('jobz'\): .*jobz is not a folder"),
        ("file.yaml", r"file.yaml is not a folder"),
        ("empty", r"load_jobs\('empty'\): there is no job file \(\*.yaml\) in"),
    ):
        lines = f"from scoring_airflow import load_jobs  # dag\n\nload_jobs({folder!r})\n"
        (dags / "loader.py").write_text(lines)
        ((path, error),) = _parse(dags).import_errors.items()
        assert path.endswith("loader.py")
        assert re.search(message, error)


def test_a_job_file_that_ends_in_yml_is_an_import_error_of_its_own(jobs: Path) -> None:
    (jobs / "gamma.yml").write_text((jobs / "alpha.yaml").read_text())
    bag = _parse(jobs.parent)
    assert set(bag.dags) == {"alpha", "beta"}
    assert bag.import_errors == {
        "jobs/gamma.yml": f"{jobs / 'gamma.yml'} is not read: a job file ends in .yaml"
    }
