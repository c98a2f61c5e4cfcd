"""MLflow models, registered at a real MLflow server and saved in folders.

MLflow lives in an environment of its own, together with the project's wheel; what needs no MLflow
is tested in this process.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sklearn

from devstack.services.ports import free_port
from scoring.destinations.manifest import Manifest
from scoring.errors import JobError, ModelError, RegistryUnavailableError
from scoring.job.inputs import ColumnConfig
from scoring.models.mlflow.server import MlflowServer, server_of_environment
from scoring.models.prepare import load_model
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.environments import build_environments
from scoring.pipeline.verify import verify_partition
from scoring.storage.base import write
from scoring.storage.connections import Connections
from tests.packaging.environments import Environment, build_wheel, make_environment
from tests.scoring.factories import (
    MONTH,
    Place,
    extracted,
    in_process,
    in_s3,
    predictions,
    rows,
    run_steps,
    scored,
)

STARTS_WITHIN_SECONDS = 300
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Mlflow:
    """A server, the environment that has MLflow, and the folders that it saved."""

    uri: str
    environment: Environment
    folder: Path

    def post(self, endpoint: str, **values: str) -> None:
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{endpoint}",
            json.dumps(values).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    folder = tmp_path_factory.mktemp("mlflow")
    wheel = build_wheel(folder)
    same = f"scikit-learn=={sklearn.__version__}"
    environment = make_environment(folder / "venv", f"{wheel}[mlflow]", "mlflow", same)
    saved = folder / "saved"
    saved.mkdir()
    with running(environment, folder) as uri:
        script = str(Path(__file__).with_name("mlflow_models.py"))
        environment.run("python", script, uri, str(saved), cwd=folder, **QUIET)
        yield Mlflow(uri, environment, saved)


QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def running(environment: Environment, folder: Path) -> Iterator[str]:
    uri = f"http://127.0.0.1:{free_port()}"
    where = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db")
    where += (
        "--artifacts-destination",
        str(folder / "artifacts"),
        "--port",
        uri.rpartition(":")[2],
    )
    command = [str(environment.bin / "mlflow"), "server", "--workers", "1", *where]
    with (folder / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=environment.variables | QUIET,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + STARTS_WITHIN_SECONDS
            while not answers(f"{uri}/health"):
                text = (folder / "mlflow.log").read_text()
                assert server.poll() is None, text
                assert time.monotonic() < deadline, text
                time.sleep(0.2)
            yield uri
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=10) as response:
        return bool(response.status == 200)
    return False


def registered(uri: str, **more: Any) -> dict[str, Any]:
    return {"version": "v1", "uri": uri, "in_force_from": MONTH, "trust": "registry"} | more


def at(place: Place, mlflow: str, version: dict[str, Any], month: str = MONTH, **more: Any) -> Any:
    """A run of the sample job whose model is ``version`` of the server ``mlflow``."""
    place.source(rows(3), f"{month}.parquet")
    run = place.run(place.job(model={"versions": [version]}, **more), month)
    return replace(run, connections=Connections(mlflow=partial(MlflowServer, mlflow)))


def slope(manifest: Manifest) -> float:
    """By how much a prediction grows with x, which is 1, 2, 3."""
    found = predictions(manifest)["y"].to_pylist()
    assert found == pytest.approx([found[0] * n for n in (1, 2, 3)])
    return round(found[0], 6)


def tree_digest_by_shell(folder: Path) -> str:
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    return subprocess.check_output(["sh", "-c", command], cwd=folder, text=True).split()[0]


def test_a_version_is_scored_by_its_number(empty: Place, mlflow_server: Mlflow):
    for number, expected in (("1", 2.0), ("2", 3.0)):  # a pickle and a skops file
        run = at(empty, mlflow_server.uri, registered(f"mlflow:models:/ride/{number}"))
        manifest = run_steps(run)
        assert slope(manifest) == expected
        model = manifest.model
        assert model.registered is not None
        assert (model.version, model.uri) == ("v1", f"mlflow:models:/ride/{number}")
        assert (model.registered.name, model.registered.number) == ("ride", number)
        assert len(model.registered.run_id or "") == 32
        assert model.registered.alias is None
        assert model.registered.source.startswith("mlflow-artifacts:/")
        assert model.runtime_versions == {"scikit-learn": sklearn.__version__}


def test_an_alias_is_resolved_once_for_a_run(empty: Place, mlflow_server: Mlflow):
    mlflow_server.post("registered-models/alias", name="ride", alias="moving", version="1")
    run = at(empty, mlflow_server.uri, registered("mlflow:models:/ride@moving", version="best"))
    manifest = run_steps(run)
    assert slope(manifest) == 2.0
    assert manifest.model.version == "best.1"
    assert set(predictions(manifest)["model_version"].to_pylist()) == {"best.1"}
    assert manifest.model.registered is not None
    assert manifest.model.registered.alias == "moving"
    extraction = extracted(run)
    mlflow_server.post("registered-models/alias", name="ride", alias="moving", version="2")
    # The steps of a run that has begun take the version that it began with.
    assert extraction.model.registered is not None
    assert extraction.model.registered.number == "1"
    model = load_model(extraction.model, [], run.connections)
    assert model.native.coef_ == pytest.approx([2.0])
    assert len(scored(run, extraction)) == 1
    # What was published is verified with the version that made it.
    assert verify_partition(run, workers=1).model.version == "best.1"
    # The next run takes the other one, and --model-version a certain one.
    assert slope(run_steps(run)) == 3.0
    assert run.model_file("best.1").uri == "mlflow:models:/ride/1"


def test_tags_say_which_version_is_in_force(empty: Place, mlflow_server: Mlflow):
    version = registered("mlflow:models:/ride", version="tagged")
    for month, number in (("2013-02", 2.0), ("2013-03", 2.0), ("2013-04", 3.0), ("2013-09", 3.0)):
        manifest = run_steps(at(empty, mlflow_server.uri, version, month))
        assert slope(manifest) == number, month
    run = at(empty, mlflow_server.uri, version)
    current = run.job_file.job.model.model_copy(update={"policy": "current"})
    job = run.job_file.job.model_copy(update={"model": current})
    newest = replace(run, job_file=replace(run.job_file, job=job)).model_file()
    assert newest.version == "tagged.2"
    early = at(empty, mlflow_server.uri, version | {"in_force_from": "2012-12"}, start="2012-12")
    early = replace(early, partition=early.job.parse("2012-12"))
    with pytest.raises(
        ModelError, match=r"ride was in force in 2012-12: the first, version 1, has"
    ):
        early.model_file()


def test_tags_that_decide_nothing_are_named(empty: Place, mlflow_server: Mlflow):
    def message(name: str) -> str:
        with pytest.raises(ModelError) as caught:
            at(empty, mlflow_server.uri, registered(f"mlflow:models:/{name}")).model_file()
        return str(caught.value)

    assert "no version of the model late" in message("late")
    assert message("nobody").endswith("has no registered model 'nobody'")
    tag = {"name": "late", "version": "1", "key": "in_force_from"}
    mlflow_server.post("model-versions/set-tag", **tag, value="March")
    assert "the tag in_force_from of version 1 of the model late is not valid" in message("late")


def test_a_classifier_is_given_as_itself(empty: Place, mlflow_server: Mlflow):
    output = {"prediction": "y", "probabilities": {"p_yes": "yes"}}
    run = at(empty, mlflow_server.uri, registered("mlflow:models:/late/1"), output=output)
    table = predictions(run_steps(run))
    assert table["y"].to_pylist() == ["no", "yes", "yes"]
    assert [p > 0.5 for p in table["p_yes"].to_pylist()] == [False, True, True]


def test_a_registered_model_is_pinned_or_the_registry_is_trusted(
    empty: Place, mlflow_server: Mlflow
):
    version = registered("mlflow:models:/ride/1", trust=None)
    with pytest.raises(
        ModelError, match=r"does not pin it; .* sha256: [0-9a-f]{64}.*trust: reg"
    ) as e:
        at(empty, mlflow_server.uri, version).model_file()
    digest = str(e.value).partition("sha256: ")[2][:64]
    run = at(empty, mlflow_server.uri, version | {"sha256": digest})
    assert slope(run_steps(run)) == 2.0
    # An alias that is pinned may not move.
    mlflow_server.post("registered-models/alias", name="ride", alias="pinned", version="2")
    pinned = version | {"uri": "mlflow:models:/ride@pinned", "sha256": digest}
    with pytest.raises(ModelError, match="is not the folder that sample pins as v1"):
        at(empty, mlflow_server.uri, pinned).model_file()


def test_what_a_registry_does_not_have_is_one_sentence(empty: Place, mlflow_server: Mlflow):
    def message(uri: str) -> str:
        with pytest.raises(ModelError) as caught:
            at(empty, mlflow_server.uri, registered(uri)).model_file()
        return str(caught.value)

    assert "has no alias 'best'; it has champion (version 1)" in message("mlflow:models:/ride@best")
    assert "has no version 9 of the model ride; it has" in message("mlflow:models:/ride/9")
    assert "has no registered model 'nobody'" in message("mlflow:models:/nobody@best")


def test_a_server_that_cannot_be_reached_is_one_sentence(
    empty: Place, monkeypatch: pytest.MonkeyPatch
):
    uri = f"http://127.0.0.1:{free_port()}"
    run = at(empty, uri, registered("mlflow:models:/ride/1"))
    with pytest.raises(RegistryUnavailableError, match=r"cannot be reached: .*refused$"):
        run.model_file()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ModelError, match="set the environment variable MLFLOW_TRACKING_URI"):
        replace(run, connections=Connections()).model_file()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(ModelError, match=r"must begin with http.* begins with 'sqlite'"):
        server_of_environment()


def test_a_password_is_in_no_message(monkeypatch: pytest.MonkeyPatch):
    port = free_port()
    server = MlflowServer(f"http://ada:secret@127.0.0.1:{port}")
    with pytest.raises(RegistryUnavailableError) as caught:
        server.get("model-versions/get", name="ride", version="1")
    assert "secret" not in str(caught.value) + repr(server)
    assert f"127.0.0.1:{port}" in str(caught.value)


def in_folder(place: Place, folder: Path, **more: Any) -> dict[str, Any]:
    """A version whose folder is a copy of ``folder`` among the models, pinned."""
    shutil.copytree(folder, place.data / "models" / folder.name, dirs_exist_ok=True)
    found = {"version": "v1", "uri": f"{{models}}/{folder.name}/", "in_force_from": MONTH}
    return found | {"sha256": tree_digest_by_shell(folder)} | more


SCORER = """
def run(df, model, dv):
    return df.assign(y=model.predict(dv.transform(df.to_dict(orient="records"))))[["y"]]
"""


def test_a_folder_and_a_vectorizer_beside_it(empty: Place, mlflow_server: Mlflow):
    saved = mlflow_server.folder
    version = in_folder(empty, saved / "zones")
    shutil.copy(saved / "zones.pkl", empty.data / "models" / "dv.pkl")
    digest = hashlib.sha256((saved / "zones.pkl").read_bytes()).hexdigest()
    frame = {"id": range(4), "zone": ["a", "b", "a", "c"], "x": [1.0, 2.0, 3.0, 4.0]}
    empty.source(pa.table({name: list(values) for name, values in frame.items()}))
    job = empty.job(
        inputs={"zone": {"type": "string"}, "x": {"type": "float64"}},
        scorer=empty.scorer(SCORER),
        model={
            "files": {"dv": {"uri": "{models}/dv.pkl", "sha256": digest}},
            "versions": [version],
        },
    )
    manifest = run_steps(empty.run(job))
    expected = np.load(saved / "zones.npy")
    assert predictions(manifest)["y"].to_pylist() == list(expected)
    assert manifest.model.format == "mlflow"
    assert manifest.model.uri.endswith("/models/zones/")
    assert manifest.model.sha256 == version["sha256"]
    assert manifest.model.registered is None


class Exploding:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return (Path.touch, (self.proof,))


def test_a_folder_with_another_digest_runs_nothing(
    empty: Place, mlflow_server: Mlflow, tmp_path: Path
):
    version = in_folder(empty, mlflow_server.folder / "coded")
    folder, proof = empty.data / "models" / "coded", tmp_path / "proof"
    empty.source(rows(3))
    job = empty.job(model={"versions": [version]})
    assert (folder / "model.pkl").exists()
    (folder / "model.pkl").write_bytes(pickle.dumps(Exploding(proof)))
    with pytest.raises(ModelError, match="is not the folder that sample pins as v1"):
        run_steps(empty.run(job))
    for name in (".hidden", "code/added.py"):
        shutil.copytree(mlflow_server.folder / "coded", folder, dirs_exist_ok=True)
        (folder / name).write_text("raise SystemExit")
        with pytest.raises(ModelError, match="is not the folder that sample pins as v1"):
            run_steps(empty.run(job))
        (folder / name).unlink()
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match="link cannot be read: links are not followed"):
        run_steps(empty.run(job))
    (folder / "link").unlink()
    unpinned = empty.job(model={"versions": [version | {"sha256": None}]})
    with pytest.raises(
        ModelError, match=f"not pin it; .* sha256: {version['sha256']}, if you trust"
    ):
        run_steps(empty.run(unpinned))
    assert not proof.exists()


def test_a_folder_that_is_swapped_after_extract_is_not_loaded(empty: Place, mlflow_server: Mlflow):
    version = in_folder(empty, mlflow_server.folder / "coded")
    empty.source(rows(3))
    run = empty.run(empty.job(model={"versions": [version]}))
    extraction = extracted(run)
    (empty.data / "models" / "coded" / "code" / "ride_steps.py").write_text("raise SystemExit")
    with pytest.raises(ModelError, match="was replaced while sample was being scored with it"):
        scored(run, extraction)


def test_a_signature_that_the_inputs_do_not_fit_is_named(empty: Place, mlflow_server: Mlflow):
    version = in_folder(empty, mlflow_server.folder / "coded")

    def run(**inputs: str) -> PartitionContext:
        columns = {name: {"type": kind} for name, kind in inputs.items()}
        return empty.run(empty.job(inputs=columns, model={"versions": [version]}))

    with pytest.raises(ModelError, match=r"requires 'x' \(double\), .*inputs do not list .*are z"):
        run(z="float64").model_file()
    with pytest.raises(ModelError, match="says that 'x' is double, and the job says string"):
        run(x="string").model_file()
    assert run(x="float32").model_file().format == "mlflow"


def test_a_folder_without_a_model_is_named(empty: Place):
    folder = empty.data / "models" / "ride"
    version = {"version": "v1", "uri": "{models}/ride/", "in_force_from": MONTH}
    run = empty.run(empty.job(model={"versions": [version]}))
    with pytest.raises(ModelError, match=r"there are no files in .*/models/ride/"):
        run.model_file()
    folder.mkdir(parents=True)
    (folder / "model.pkl").write_bytes(b"")
    version["sha256"] = tree_digest_by_shell(folder)
    with pytest.raises(ModelError, match="has no file MLmodel"):
        empty.run(empty.job(model={"versions": [version]})).model_file()
    (folder / "MLmodel").write_text("flavors: 3")
    version["sha256"] = tree_digest_by_shell(folder)
    with pytest.raises(ModelError, match=r"the MLmodel file of .* cannot be read"):
        empty.run(empty.job(model={"versions": [version]})).model_file()


def test_a_folder_in_s3(empty: Place, mlflow_server: Mlflow, s3: Any):
    version = in_folder(empty, mlflow_server.folder / "zones")
    run = in_s3(
        empty, model={"versions": [version]}, scorer=empty.scorer("def run(df, model): ...")
    )
    for path in (empty.data / "models" / "zones").rglob("*"):
        if path.is_file():
            name = path.relative_to(empty.data).as_posix()
            write(run.storage, f"s3://scoring/lake/{name}", path.read_bytes())
    file = run.model_file()
    assert file.uri == "s3://scoring/lake/models/zones/"
    assert load_model(file, [], run.connections).native.n_features_in_ == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uri": "mlflow:ride"}, r"does not name a registered model; write mlflow:models:/NAME/3"),
        ({"uri": "mlflow:models:/ride/latest"}, r"does not name a registered model"),
        ({"uri": "models:/ride/1"}, r"is a URI of MLflow's; write mlflow:models:/NAME/VERSION"),
        ({"trust": "registry"}, r"trust: is for models in an MLflow registry"),
        ({"format": "mlflow"}, r"mlflow reads a folder, so its URI ends with /"),
        ({"uri": "{models}/v1/", "format": "skops"}, r"skops reads one file, not a folder"),
    ],
)
def test_what_is_wrong_in_the_job_file(empty: Place, change: dict[str, Any], message: str):
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": MONTH}
    with pytest.raises(JobError, match=message):
        empty.job(model={"versions": [version | change]})


def test_an_artifact_is_not_a_folder(empty: Place):
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": MONTH}
    model = {"versions": [version], "files": {"dv": {"uri": "{models}/dv/"}}}
    with pytest.raises(JobError, match="an artifact is one file"):
        empty.job(model=model, scorer=empty.scorer("def run(df, model, dv): ..."))


def in_shell(mlflow: Mlflow, place: Place, *command: str) -> subprocess.CompletedProcess[str]:
    variables = {"MLFLOW_TRACKING_URI": mlflow.uri}
    data = ("--data", str(place.data))
    return mlflow.environment.run(
        "scoring", *command, *data, cwd=place.folder, check=False, **variables
    )


def test_mlflow_itself_loads_other_models_in_the_shell(empty: Place, mlflow_server: Mlflow):
    empty.source(rows(3))
    version = registered("mlflow:models:/plus/1", trust=None)
    path = empty.job(model={"versions": [version]}).path
    done = in_shell(mlflow_server, empty, "check", "--deep", str(path))
    assert done.returncode == 5, done.stderr
    digest = done.stderr.partition("sha256: ")[2][:64]
    version["sha256"] = digest
    path = empty.job(model={"versions": [version]}).path
    done = in_shell(mlflow_server, empty, "run", str(path), MONTH, "--json")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert manifest["model"]["sha256"] == digest
    assert list(manifest["model"]["runtime_versions"]) == ["mlflow"]
    assert list(predictions(Manifest.model_validate(manifest))["y"].to_pylist()) == [11, 12, 13]


def test_modules_that_were_logged_with_a_model(empty: Place, mlflow_server: Mlflow):
    empty.source(rows(3))
    version = in_folder(empty, mlflow_server.folder / "coded")
    path = empty.job(model={"versions": [version]}).path
    done = in_shell(mlflow_server, empty, "run", str(path), MONTH, "--json")
    assert done.returncode == 0, done.stderr
    manifest = Manifest.model_validate_json(done.stdout)
    assert predictions(manifest)["y"].to_pylist() == pytest.approx([1.0, 2.0, 3.0])


def test_modules_of_one_name_and_other_code_are_refused(
    empty: Place, mlflow_server: Mlflow, tmp_path: Path
):
    coded = tmp_path / "saved" / "coded"
    shutil.copytree(mlflow_server.folder / "coded", coded)

    def load() -> Any:
        run = empty.run(empty.job(model={"versions": [version]}))
        return load_model(run.model_file(), [], run.connections)

    def in_a_process_of_its_own() -> None:
        nonlocal version
        frame = pd.DataFrame({"x": [1.0, 2.0]})
        for _ in range(2):  # the same modules may come again
            assert load().predict(frame) == pytest.approx([1.0, 2.0])
        with (coded / "code" / "ride_steps.py").open("a") as file:
            file.write("# changed\n")
        version = in_folder(empty, coded)
        with pytest.raises(ModelError, match="brings a module 'ride_steps', and there is another"):
            load()

    version = in_folder(empty, coded)
    assert in_process(in_a_process_of_its_own) == 0
    # One that is imported from elsewhere would be taken, too.
    folder = coded / "code"
    (folder / "ride_steps.py").rename(folder / "colorsys.py")
    version = in_folder(empty, coded)
    (empty.data / "models" / "coded" / "code" / "ride_steps.py").unlink()
    with pytest.raises(ModelError, match="brings a module 'colorsys'"):
        load()


def test_without_mlflow_its_extra_is_named(empty: Place, mlflow_server: Mlflow):
    from scoring.errors import MissingPackageError

    run = at(empty, mlflow_server.uri, registered("mlflow:models:/plus/1"))
    with pytest.raises(MissingPackageError, match=r"mlflow is missing.*'batch-scoring\[mlflow\]'"):
        run_steps(run)
    assert run.publisher.published(run.partition) is None


def without_inputs(place: Place, version: dict[str, Any], *months: str, **more: Any) -> Any:
    job = place.job(model={"versions": [version]}, inputs={}, **more)
    return [place.run(job, month) for month in months or (MONTH,)]


def test_the_signature_is_the_contract_and_the_requirements_the_environment(
    empty: Place, mlflow_server: Mlflow
):
    table = pa.table(
        {
            "id": [1, 2, 3],
            "x": [0.5, None, 1.5],
            "n": pa.array([1, 2, 3], pa.int64()),
            "z": [0, 0, 0],
        }
    )
    empty.source(table)
    version = in_folder(empty, mlflow_server.folder / "needs")
    (here,) = without_inputs(empty, version, checks={"max_quarantined_fraction": 0.5})
    manifest = run_steps(here)
    assert manifest.rows.reasons == {"missing_value: x": 1}
    assert manifest.model.inputs == {"x": {"type": "float64"}, "n": {"type": "int32"}}
    (there,) = without_inputs(
        empty, version | {"environment": "model"}, checks={"max_quarantined_fraction": 0.5}
    )
    in_child = run_steps(there)
    assert predictions(in_child).equals(predictions(manifest))
    assert in_child.model.environment["python"].startswith("3.")
    assert manifest.model.environment == {}
    verify_partition(there)
    built = next(build_environments(there.job_file, str(empty.data)))[1]
    assert built.seconds == 0.0
    assert "mlflow" not in built.packages  # scikit-learn's own estimator does without it


def test_mlflow_is_in_the_environment_of_a_model_that_it_loads(empty: Place, mlflow_server: Mlflow):
    empty.source(rows(3))
    version = in_folder(empty, mlflow_server.folder / "plus", environment="model")
    (run,) = without_inputs(empty, version)
    assert predictions(run_steps(run))["y"].to_pylist() == [11, 12, 13]


def test_modules_that_were_logged_with_a_model_reach_its_environment(
    empty: Place, mlflow_server: Mlflow
):
    empty.source(rows(3))
    needs = {"python": PYTHON, "requirements": [f"scikit-learn=={sklearn.__version__}"]}
    version = in_folder(empty, mlflow_server.folder / "coded", environment=needs)
    (run,) = without_inputs(empty, version)
    assert predictions(run_steps(run))["y"].to_pylist() == pytest.approx([1.0, 2.0, 3.0])


def test_a_folder_that_does_not_say_what_it_needs_is_named(empty: Place, mlflow_server: Mlflow):
    folder = empty.folder / "bare"
    shutil.copytree(mlflow_server.folder / "needs", folder)
    (folder / "requirements.txt").unlink()
    empty.source(rows(3))
    (run,) = without_inputs(empty, in_folder(empty, folder, environment="model"))
    with pytest.raises(ModelError, match="does not say which Python and packages it needs"):
        run.model_file()
    mlmodel = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(mlmodel.partition("signature:")[0])
    (run,) = without_inputs(empty, in_folder(empty, folder))
    with pytest.raises(ModelError, match=r"the job lists no inputs, and .* has no signature"):
        run.model_file()


@pytest.mark.parametrize(
    "column",
    [
        {"name": "x", "type": "array", "items": {"type": "double"}, "required": True},
        {"name": "x", "type": "binary", "required": True},
    ],
)
def test_a_signature_of_other_than_plain_columns_needs_inputs(column: dict[str, Any]):
    from scoring.models.mlflow.mlmodel import inputs_of, parse_mlmodel

    text = json.dumps({"flavors": {}, "signature": {"inputs": json.dumps([column])}})
    with pytest.raises(ModelError, match=r"says that 'x' is (array|binary), which no column"):
        inputs_of(parse_mlmodel(text.encode(), "m/"), "m/")


def test_an_optional_column_of_the_signature_may_be_null():
    from scoring.models.mlflow.mlmodel import inputs_of, parse_mlmodel

    columns = [
        {"name": "a", "type": "datetime", "required": False},
        {"name": "b", "type": "boolean", "required": True},
    ]
    text = json.dumps({"flavors": {}, "signature": {"inputs": json.dumps(columns)}})
    found = inputs_of(parse_mlmodel(text.encode(), "m/"), "m/")
    assert {name: (c.type, c.nullable) for name, c in found.items()} == {
        "a": ("timestamp", True),
        "b": ("boolean", False),
    }


def test_a_job_without_inputs_has_mlflow_models_and_no_scorer(empty: Place):
    with pytest.raises(JobError, match=r"inputs: missing; list the columns that the model gets"):
        empty.job(inputs={})
    version = {"version": "v1", "uri": "{models}/m/", "in_force_from": MONTH}
    with pytest.raises(JobError, match=r"inputs: missing; list the columns that the model gets"):
        empty.job(inputs={}, model={"versions": [version]}, scorer=empty.scorer(SCORER))
    with pytest.raises(JobError, match="environment: is for MLflow models"):
        empty.job(model={"versions": [version | {"uri": "{models}/m.pkl", "environment": "model"}]})


def test_what_the_signature_does_not_go_with_is_an_error_of_the_job(empty: Place):
    job_file = empty.job()
    with pytest.raises(JobError, match="'__row__' is reserved for internal use"):
        job_file.with_inputs({"__row__": ColumnConfig(type="int64")})
