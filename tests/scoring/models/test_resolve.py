from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scoring.errors import ModelError, ScorerError
from scoring.job.loader import JobFile
from scoring.models.base import Model
from scoring.models.prepare import load_model
from scoring.storage.connections import Connections
from tests.scoring.factories import Place, linear, save

ONE_ROW = pd.DataFrame({"x": [1.0]})


def version(name: str, in_force_from: str, **changes: Any) -> dict[str, Any]:
    return {
        "version": name,
        "uri": f"{{models}}/{name}.skops",
        "in_force_from": in_force_from,
    } | changes


def job_with(place: Place, *versions: dict[str, Any], **model: Any) -> JobFile:
    return place.job(model={"versions": list(versions)} | model)


def loaded(place: Place, job: JobFile | None = None) -> Model:
    run = place.run(job)
    assert run.job.model is not None
    return load_model(run.model_file(), run.job.model.trusted_types, run.connections)


# --- which model -------------------------------------------------------------------------------


@pytest.fixture
def three(empty: Place) -> JobFile:
    """A job with a model for February, one from April on, and one from June on."""
    for number, name in enumerate(("v1", "v2", "v3"), start=1):
        empty.model(linear(float(number)), f"{name}.skops")
    return job_with(
        empty, version("v2", "2013-04"), version("v1", "2013-02"), version("v3", "2013-06")
    )


@pytest.mark.parametrize(
    ("month", "pinned", "chosen"),
    [
        ("2013-02", None, "v1"),
        ("2013-03", None, "v1"),
        ("2013-04", None, "v2"),
        ("2013-12", None, "v3"),
        ("2013-02", "v3", "v3"),
        ("2013-12", "v1", "v1"),
    ],
)
def test_the_model_in_force_scores_a_month_unless_another_is_pinned(
    empty: Place, three: JobFile, month: str, pinned: str | None, chosen: str
):
    file = empty.run(three, month).model_file(pinned)
    assert (file.name, file.version) == ("sample", chosen)
    assert file.uri == f"{empty.data}/models/{chosen}.skops"
    assert file.sha256 == hashlib.sha256(Path(file.uri).read_bytes()).hexdigest()


def test_before_the_first_model_nothing_is_chosen(empty: Place, three: JobFile):
    with pytest.raises(ModelError, match="no model version of sample was in force in 2013-01"):
        empty.run(three, "2013-01").model_file()


def test_a_scorer_without_a_model_stands_for_it_with_its_digest(empty: Place):
    code = "def run(df):\n    return df\n"
    job = empty.job(model=None, scorer=empty.scorer(code))
    file = empty.run(job).model_file()
    digest = hashlib.sha256(code.encode()).hexdigest()
    assert (file.version, file.sha256) == (f"scorer-{digest[:8]}", digest)
    with pytest.raises(ModelError, match="sample has no model"):
        empty.run(job).model_file("v1")


def test_a_scorer_that_is_not_there_is_named(empty: Place):
    job = empty.job(model=None, scorer="nowhere.py")
    with pytest.raises(ScorerError, match=r"nowhere\.py cannot be read: No such file .* relative"):
        empty.run(job).model_file()


# --- pinned by digest --------------------------------------------------------------------------


def test_a_model_with_the_right_digest_is_loaded(empty: Place):
    digest = empty.model(linear(2.0))
    model = loaded(empty, job_with(empty, version("v1", "2013-02", sha256=digest)))
    assert model.native.predict(ONE_ROW).tolist() == pytest.approx([2.0])
    assert model.runtime_versions == {"scikit-learn": sklearn.__version__}


def test_a_model_with_another_digest_is_refused_and_both_are_reported(empty: Place):
    digest = empty.model()
    job = job_with(empty, version("v1", "2013-02", sha256="0" * 64))
    with pytest.raises(ModelError) as error:
        empty.run(job).model_file()
    assert f"its sha256 is {digest}, the job file says {'0' * 64}" in str(error.value)
    assert "it was not loaded. Put the right file back" in str(error.value)


def test_a_file_that_is_swapped_after_it_was_chosen_is_refused(empty: Place):
    empty.model(linear(2.0))
    file = empty.run().model_file()
    empty.model(linear(3.0))
    with pytest.raises(ModelError, match=r"v1\.skops was replaced while sample was being scored"):
        load_model(file, [], Connections())


def test_a_model_that_is_not_there_is_named(empty: Place):
    with pytest.raises(ModelError) as error:
        empty.run().model_file()
    assert f"the model file of sample v1 is not there: {empty.data}/models/v1.skops" in str(
        error.value
    )


def test_a_model_that_cannot_be_read_is_named(empty: Place):
    (empty.data / "models" / "v1.skops").mkdir(parents=True)
    with pytest.raises(
        ModelError, match=r"v1\.skops, .* sample v1, cannot be read: Is a directory"
    ):
        empty.run().model_file()


# --- joblib ------------------------------------------------------------------------------------


def joblib_job(place: Place, digest: str) -> JobFile:
    of_version = version("v1", "2013-02", uri="{models}/v1.joblib", sha256=digest)
    return job_with(place, of_version)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


def test_a_joblib_model_is_loaded_when_the_job_pins_its_digest(empty: Place):
    digest = empty.model(linear(2.0), "v1.joblib")
    model = loaded(empty, joblib_job(empty, digest))
    assert model.native.predict(ONE_ROW).tolist() == pytest.approx([2.0])


def test_a_malicious_joblib_file_with_another_digest_never_runs(empty: Place, tmp_path: Path):
    proof = tmp_path / "exploded"
    good = empty.model(linear(), "v1.joblib")
    job = joblib_job(empty, good)
    file = empty.run(job).model_file()
    digest = empty.model(Bomb(proof), "v1.joblib")

    with pytest.raises(ModelError, match="is not the file that sample pins"):
        empty.run(job).model_file()
    with pytest.raises(ModelError, match="was replaced"):
        load_model(file, [], Connections())
    assert not proof.exists()

    # The bomb is live: with its own digest it goes off.
    load_model(file.model_copy(update={"sha256": digest}), [], Connections())
    assert proof.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        b"\x80\x04N",
        pickle.dumps({"a": 1})[:-1],
        b"x\x9c" + b"damaged zlib",
        b"\x1f\x8b" + b"damaged gzip",
        b"BZh" + b"damaged bzip2",
        b"\xfd7zXZ" + b"damaged xz",
    ],
)
def test_a_joblib_file_that_is_none_is_named(empty: Place, content: bytes):
    path = empty.data / "models" / "v1.joblib"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    job = joblib_job(empty, hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelError, match=r"v1\.joblib is not a joblib file that can be loaded"):
        loaded(empty, job)


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_joblib_file_that_is_cut_off_is_named(empty: Place, cut: float):
    path = empty.data / "models" / "v1.joblib"
    path.parent.mkdir(parents=True)
    joblib.dump(linear(), path, compress=3)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    job = joblib_job(empty, hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match=r"v1\.joblib is not a joblib file that can be loaded"):
        loaded(empty, job)


@pytest.mark.parametrize(
    "missing", ["not_installed_here\nModel", "sklearn.linear_model\nNoSuchModel"]
)
def test_a_joblib_file_that_needs_another_package_says_so(empty: Place, missing: str):
    content = f"c{missing}\n.".encode()
    path = empty.data / "models" / "v1.joblib"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    job = joblib_job(empty, hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelError, match=r"needs something that is not here: .*Install"):
        loaded(empty, job)


def test_a_model_whose_own_loading_fails_is_named(empty: Place):
    content = b"cbuiltins\nexec\n(Vraise RuntimeError('own code')\ntR."
    path = empty.data / "models" / "v1.joblib"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    job = joblib_job(empty, hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelError, match=r"v1\.joblib .*RuntimeError: own code"):
        loaded(empty, job)


# --- skops -------------------------------------------------------------------------------------


class Untrusted:
    def __init__(self) -> None:
        self.slope = 2.0


def boosted() -> HistGradientBoostingRegressor:
    x = pd.DataFrame({"x": np.arange(50.0)})
    return HistGradientBoostingRegressor(max_iter=2).fit(x, x["x"])


def test_types_that_the_job_does_not_trust_are_named_and_not_loaded(empty: Place):
    empty.model(boosted())
    predictor = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
    with pytest.raises(ModelError) as error:
        loaded(empty)
    assert f"contains types that sample does not trust: {predictor}; it was not loaded" in str(
        error.value
    )
    assert "model.trusted_types" in str(error.value)
    model = loaded(empty, job_with(empty, version("v1", "2013-02"), trusted_types=[predictor]))
    assert isinstance(model.native, HistGradientBoostingRegressor)


def test_a_class_of_ones_own_is_loaded_only_when_it_is_trusted(empty: Place):
    empty.model(Untrusted())
    name = f"{__name__}.Untrusted"
    with pytest.raises(ModelError, match=name):
        loaded(empty)
    job = job_with(empty, version("v1", "2013-02"), trusted_types=[name])
    assert loaded(empty, job).native.slope == 2.0


def test_a_pickle_inside_a_skops_file_never_runs(empty: Place, tmp_path: Path):
    proof = tmp_path / "exploded"
    empty.model()
    path = empty.data / "models" / "v1.skops"
    # A plain pickle under the name of a skops file ...
    path.write_bytes(pickle.dumps(Bomb(proof)))
    with pytest.raises(ModelError, match=r"is a pickle, whatever its name says.*was not loaded"):
        loaded(empty)
    # ... and an archive whose arrays are one.
    whole = skops.io.dumps(linear())
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            bomb = pickle.dumps(Bomb(proof)) if name.endswith(".npy") else old.read(name)
            new.writestr(name, bomb)
    path.write_bytes(changed.getvalue())
    with pytest.raises(ModelError, match="is not a skops file that can be loaded here"):
        loaded(empty)
    assert not proof.exists()


def test_a_function_is_not_a_model_that_skops_may_call(empty: Place, tmp_path: Path):
    proof = tmp_path / "exploded"
    empty.model()
    path = empty.data / "models" / "v1.skops"
    schema = (
        '{"__class__": "system", "__module__": "posix", "__loader__": "ObjectNode", "__id__": 1, '
        f'"content": "touch {proof}", "protocol": 2, "_skops_version": "0.16.0"}}'
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", schema)
    with pytest.raises(ModelError):
        loaded(empty)
    assert not proof.exists()


def test_a_version_that_is_pinned_cannot_fill_the_log(empty: Place, three: JobFile):
    with pytest.raises(ModelError) as error:
        empty.run(three).model_file("../../x\n\x1b[2J" + "v" * 10_000_000)
    assert str(error.value).startswith("sample has no model version '../../x\\n\\x1b[2Jvvv")
    assert str(error.value).endswith("v… (10,000,012 characters)'; it has v2, v1, v3")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        pytest.param(None, id="cut off"),
        pytest.param({"schema.json": "no json"}, id="no json"),
        pytest.param({"schema.json": "{}"}, id="empty"),
        pytest.param({"schema.json": "[]"}, id="list"),
        pytest.param({"other": "x"}, id="no schema"),
    ],
)
def test_a_skops_file_that_is_none_is_named(empty: Place, content: Any):
    empty.model()
    path = empty.data / "models" / "v1.skops"
    if isinstance(content, dict):
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
    else:
        path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ModelError, match=r"v1\.skops is not a skops file that can be loaded here"):
        loaded(empty)


# --- the scikit-learn that saved it ------------------------------------------------------------


def save_as(place: Place, monkeypatch: pytest.MonkeyPatch, release: str, name: str) -> str:
    """Saves a model as a process with another scikit-learn would: it notes that release."""
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", release)
        model = make_pipeline(StandardScaler(), linear())
        return save(model, place.data / "models" / name)


@pytest.mark.parametrize("name", ["v1.skops", "v1.joblib"])
@pytest.mark.parametrize("release", ["1.2.2", "0.24.1", "2.0.0", "1.99.dev0"])
def test_a_model_of_another_scikit_learn_is_refused_with_what_to_do(
    empty: Place, monkeypatch: pytest.MonkeyPatch, name: str, release: str
):
    digest = save_as(empty, monkeypatch, release, name)
    job = job_with(empty, version("v1", "2013-02", uri=f"{{models}}/{name}", sha256=digest))
    with pytest.raises(ModelError) as error:
        loaded(empty, job)
    message = str(error.value)
    assert (
        f"{name} was saved with scikit-learn {release}, and this is {sklearn.__version__}"
        in message
    )
    assert "Train or save it again" in message


def test_an_old_model_is_refused_even_where_warnings_are_ignored(
    empty: Place, monkeypatch: pytest.MonkeyPatch
):
    save_as(empty, monkeypatch, "1.2.2", "v1.skops")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ModelError, match=r"saved with scikit-learn 1\.2\.2"):
            loaded(empty)


@pytest.mark.parametrize("name", ["v1.skops", "v1.joblib"])
def test_a_model_of_another_patch_of_the_same_scikit_learn_is_loaded(
    empty: Place, monkeypatch: pytest.MonkeyPatch, name: str
):
    major, minor, _ = sklearn.__version__.split(".")
    release = f"{major}.{minor}.99"
    digest = save_as(empty, monkeypatch, release, name)
    job = job_with(empty, version("v1", "2013-02", uri=f"{{models}}/{name}", sha256=digest))
    assert loaded(empty, job).runtime_versions == {"scikit-learn": release}


def test_one_old_part_of_a_model_is_enough_to_refuse_it(
    empty: Place, monkeypatch: pytest.MonkeyPatch
):
    major, minor, _ = sklearn.__version__.split(".")
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", f"{major}.{minor}.99")
        model = make_pipeline(StandardScaler(), linear())
        real = StandardScaler.__getstate__
        old = {"_sklearn_version": "1.2.2"}
        patch.setattr(StandardScaler, "__getstate__", lambda self: real(self) | old)
        digest = save(model, empty.data / "models" / "v1.joblib")
    with pytest.raises(ModelError, match=r"saved with scikit-learn 1\.2\.2"):
        loaded(empty, joblib_job(empty, digest))
