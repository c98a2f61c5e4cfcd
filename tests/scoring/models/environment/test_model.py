"""Models that are scored in a Python of their own: real old Pythons, real old pickles."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scoring.errors import ModelError, ScorerError
from scoring.job.loader import JobFile
from scoring.models import prepare
from scoring.models.environment.model import EnvironmentModel
from scoring.pipeline.local import score_partition
from scoring.pipeline.score import checked_model
from tests.old_python import Old
from tests.scoring.factories import Place, in_shards_of, predictions, rows, run_steps
from tests.scoring.notebooks import code, text, write_notebook

Version = Callable[..., dict[str, Any]]

TRAIN = """
import sys, joblib, numpy as np, pandas as pd
from sklearn.ensemble import {kind}
random = np.random.RandomState(0)
x = pd.DataFrame({{"x": random.normal(size=500), "n": random.randint(0, 9, 500)}})
y = x.x * 3 + np.sin(x.n)
joblib.dump({kind}(random_state=0, n_estimators=20).fit(x, {target}), sys.argv[1])
"""
INPUTS = {"x": {"type": "float64"}, "n": {"type": "int64"}}


@pytest.fixture(autouse=True)
def no_model_is_kept():
    yield
    prepare._kept.clear()


def source(empty: Place, count: int = 300) -> pa.Table:
    random = np.random.RandomState(1)
    table = rows(count, x=random.normal(size=count), n=random.randint(0, 9, count))
    empty.source(table)
    return table


def trained(empty: Place, old: Old, kind: str = "GradientBoostingRegressor", target="y") -> Path:
    path = empty.data / "models" / "old.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    old.run(TRAIN.format(kind=kind, target=target), str(path))
    return path


def job_of(empty: Place, version: dict[str, Any], **changes: Any) -> JobFile:
    model = {"versions": [version]} | changes.pop("model", {})
    return empty.job(**{"inputs": INPUTS, "model": model} | changes)


def own_digits(empty: Place, old: Old, model: Path, method: str = "predict") -> Any:
    """What the model predicts in a process of its own, without any of our code."""
    rows = empty.data / "source" / "2013-02.parquet"
    return old.predictions(model, rows, list(INPUTS), empty.folder / "own.npy", method)


def test_an_old_pickle_gives_the_digits_of_its_own_process(
    empty: Place, old: Old, version: Version
):
    source(empty)
    model = trained(empty, old)
    manifest = run_steps(empty.run(job_of(empty, version(old))))
    got = predictions(manifest)["y"].to_numpy()
    assert np.array_equal(got, own_digits(empty, old, model))
    assert manifest.model.runtime_versions == {"scikit-learn": old.sklearn}
    assert manifest.model.environment == {
        "python": old.environment.interpreter.python,
        "lock_sha256": old.environment.lock_sha256,
    }


def test_probabilities_and_classes_come_from_there_too(empty: Place, old: Old, version: Version):
    source(empty)
    model = trained(
        empty, old, "RandomForestClassifier", target="np.where(y > 0, 'late', 'on time')"
    )
    job = job_of(empty, version(old), output={"prediction": "y", "probabilities": {"p": "late"}})
    table = predictions(run_steps(empty.run(job)))
    own = own_digits(empty, old, model, "predict_proba")
    assert np.array_equal(table["p"].to_numpy(), own[:, 0])
    labels = own_digits(empty, old, model)  # object array of text needs a pickle
    assert table["y"].to_pylist() == labels.tolist()
    wrong = job_of(empty, version(old), output={"prediction": "y", "probabilities": {"p": "soon"}})
    with pytest.raises(ModelError, match="for the class 'soon', and the model knows 'late', 'on"):
        run_steps(empty.run(wrong))


def test_each_worker_has_a_child_of_its_own(empty: Place, old: Old, version: Version):
    source(empty, 3000)
    model = trained(empty, old)
    job = in_shards_of(job_of(empty, version(old)), 500)
    manifest = score_partition(empty.run(job), {"by": "shell"}, workers=2)
    assert manifest.rows.scored == 3000
    assert np.array_equal(predictions(manifest)["y"].to_numpy(), own_digits(empty, old, model))


def test_a_pair_of_an_old_release_and_a_scorer(empty: Place, newer: Old, version: Version):
    """A (DictVectorizer, LinearRegression) as it is saved in many a course."""
    path = empty.data / "models" / "pair.bin"
    path.parent.mkdir(parents=True)
    newer.run(
        "import sys, pickle\n"
        "from sklearn.feature_extraction import DictVectorizer\n"
        "from sklearn.linear_model import LinearRegression\n"
        "records = [{'PU_DO': p, 'd': d} for p in ('a_b', 'c_d') for d in (1.0, 2.0, 4.0)]\n"
        "dv = DictVectorizer()\n"
        "lr = LinearRegression().fit(dv.fit_transform(records), [1, 2, 4, 11, 12, 14])\n"
        "pickle.dump((dv, lr), open(sys.argv[1], 'wb'))\n",
        str(path),
    )
    empty.source(rows(4, p=["a_b", "c_d", None, "new"], d=[1.0, 2.0, 3.0, 4.0]))
    scorer = empty.scorer(
        "import sklearn\n"
        "def run(df, model):\n"
        "    dv, lr = model\n"
        "    df = df.rename(columns={'p': 'PU_DO'}).fillna('')\n"
        "    y = lr.predict(dv.transform(df.to_dict(orient='records')))\n"
        "    return df.assign(y=y, release=sklearn.__version__)[['y', 'release']]\n"
    )
    inputs = {"p": {"type": "string", "nullable": True}, "d": {"type": "float64"}}
    job = job_of(empty, version(newer, "pair.bin"), inputs=inputs, scorer=scorer)
    manifest = run_steps(empty.run(job))
    table = predictions(manifest)
    assert table["release"].to_pylist() == [newer.sklearn] * 4
    assert table["y"].to_pylist()[:2] == pytest.approx([1.0, 12.0])
    assert manifest.scorer_sha256 is not None
    without = job_of(empty, version(newer, "pair.bin"), inputs=inputs)
    with pytest.raises(ModelError, match=r"a tuple of DictVectorizer, LinearRegression, which has"):
        run_steps(empty.run(without))


def test_every_type_of_the_contract_arrives_as_it_would_here(
    empty: Place, old: Old, version: Version
):
    trained(empty, old)
    empty.source(
        rows(
            3,
            n=pa.array([1, None, 3]),
            x=[1.5, None, 2.5],
            b=pa.array([True, None, False]),
            t=pa.array([1, None, 2_000_000_000_123_456], pa.timestamp("us", "America/New_York")),
            day=pa.array([1, None, 20000], pa.date32()),
            s=["a", None, "ü"],
            f=pa.array([1, 2, 3], pa.int8()),
        )
    )
    inputs = {
        "n": {"type": "int64", "nullable": True},
        "x": {"type": "float64", "nullable": True},
        "b": {"type": "boolean", "nullable": True},
        "t": {"type": "timestamp", "nullable": True, "timezone": "America/New_York"},
        "day": {"type": "date", "nullable": True},
        "s": {"type": "string", "nullable": True},
        "f": {"type": "int8"},
    }
    code = (
        "def run(df, model):\n"
        "    text = df.apply(lambda row: '|'.join(str(v) for v in row), axis=1)\n"
        "    kinds = '|'.join(str(d) for d in df.dtypes)\n"
        "    return df.assign(y=1.0, text=text, kinds=kinds)[['y', 'text', 'kinds']]\n"
    )
    scorer = empty.scorer(code)
    there = predictions(
        run_steps(empty.run(job_of(empty, version(old), inputs=inputs, scorer=scorer)))
    )
    here = predictions(run_steps(empty.run(empty.job(inputs=inputs, scorer=scorer, model=None))))
    assert there["kinds"].to_pylist() == here["kinds"].to_pylist()
    assert there["text"].to_pylist() == here["text"].to_pylist()


# --- what goes wrong ---------------------------------------------------------------------------


def has_ended(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


def scored_by(empty: Place, old: Old, version: Version, code: str, **environment: Any) -> Any:
    source(empty, 5)
    trained(empty, old)
    job = job_of(empty, version(old, **environment), scorer=empty.scorer(code))
    return predictions(run_steps(empty.run(job)))


def test_what_a_scorer_prints_goes_to_the_log(
    empty: Place, old: Old, version: Version, capfd: pytest.CaptureFixture[str]
):
    code = (
        "import os, sys\n"
        "print('imported')\n"
        "def run(df, model):\n"
        "    print('x' * 100_000)\n"
        "    os.write(1, b'raw')\n"
        "    return df.assign(y=model.predict(df))[['y']]\n"
    )
    assert scored_by(empty, old, version, code).num_rows == 5
    out, err = capfd.readouterr()
    assert out == ""
    assert "imported" in err
    assert "raw" in err


def test_an_exception_there_is_one_here_with_its_code(empty: Place, old: Old, version: Version):
    code = "def run(df, model):\n    return df.absent_column\n"
    with pytest.raises(ScorerError) as caught:
        scored_by(empty, old, version, code)
    assert "predicting failed with AttributeError: 'DataFrame' object has no" in str(caught.value)
    assert "rows 1 to 5" in str(caught.value)
    assert "scorer.py" in caught.value.frames
    assert "df.absent_column" in caught.value.frames
    assert "pandas" in caught.value.traceback


def test_a_scorer_that_cannot_be_imported_is_named(empty: Place, old: Old, version: Version):
    with pytest.raises(ScorerError, match=r"scorer.py cannot be imported: ModuleNotFoundError"):
        scored_by(empty, old, version, "import not_there\ndef run(df, model): ...\n")
    with pytest.raises(ScorerError, match=r"must define run\(df, model\) or run\(df\)"):
        scored_by(empty, old, version, "x = 1\n")


def test_a_notebook_is_the_scorer_there_too(empty: Place, old: Old, version: Version):
    source(empty)
    model = trained(empty, old)
    cells = [
        text("words"),
        code("%matplotlib inline", "skip"),
        code("factor = 2"),
        code("def run(df, model):\n    return df.assign(y=model.predict(df) * factor)[['y']]"),
    ]
    name = write_notebook(empty.folder / "score.ipynb", *cells)
    manifest = run_steps(empty.run(job_of(empty, version(old), scorer=name)))
    got = predictions(manifest)["y"].to_numpy()
    assert np.array_equal(got, own_digits(empty, old, model) * 2)
    write_notebook(
        empty.folder / name, text("words"), code("def run(df):\n    x = 1\n    return df['no']")
    )
    with pytest.raises(ScorerError) as raised:
        run_steps(empty.run(job_of(empty, version(old), scorer=name)))
    assert 'score.ipynb, cell 2", line 3, in run' in raised.value.frames
    assert "return df['no']" in raised.value.frames


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("os._exit(3)", "its process has ended with exit status 3"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL, possibly out of memory"),
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
    ],
)
def test_a_process_that_ends_is_an_error_of_the_scorer(
    empty: Place, old: Old, version: Version, line: str, why: str
):
    with pytest.raises(ScorerError, match=why):
        scored_by(empty, old, version, f"import os\ndef run(df, model):\n    {line}\n")


def test_sys_exit_is_an_exception_as_others(empty: Place, old: Old, version: Version):
    with pytest.raises(ScorerError, match="predicting failed with SystemExit: 4"):
        scored_by(empty, old, version, "import sys\ndef run(df, model):\n    sys.exit(4)\n")


def test_a_process_that_hangs_is_killed(empty: Place, old: Old, version: Version):
    code = "import time\ndef run(df, model):\n    time.sleep(10_000)\n"
    with pytest.raises(ScorerError, match=r"did not answer within 5 s \(environment.timeout_s"):
        scored_by(empty, old, version, code, timeout_seconds=5)


def test_what_a_model_has_started_is_killed_with_it(empty: Place, old: Old, version: Version):
    """A fork has the pipes, too: they would be open as long as it lives."""
    code = (
        "import os, time\n"
        "def run(df, model):\n"
        "    pid = os.fork()\n"
        "    if pid:\n"
        f"        open({str(empty.folder / 'fork')!r}, 'w').write(str(pid))\n"
        "    time.sleep(1000)\n"
    )
    with pytest.raises(ScorerError, match="did not answer within 5 s"):
        scored_by(empty, old, version, code, timeout_seconds=5)
    assert has_ended(int((empty.folder / "fork").read_text()))


def test_it_sees_no_environment_variables_but_those_of_the_list(
    empty: Place, old: Old, version: Version, monkeypatch: pytest.MonkeyPatch
):
    for name in ("AWS_SECRET_ACCESS_KEY", "AIRFLOW__CORE__FERNET_KEY", "SCORING_X", "API_TOKEN"):
        monkeypatch.setenv(name, "hidden-value")
    monkeypatch.setenv("MY_REGION", "north")
    monkeypatch.setenv("LC_TIME", "C")
    code = (
        "import os\n"
        "def run(df, model):\n"
        "    assert 'hidden-value' not in str(dict(os.environ))\n"
        "    seen = ' '.join(sorted(os.environ))\n"
        "    fds = len(os.listdir('/proc/self/fd'))\n"
        "    return df.assign(y=0.0, seen=seen, fds=fds)[['y', 'seen', 'fds']]\n"
    )
    held = os.dup(0)
    os.set_inheritable(held, True)
    table = scored_by(empty, old, version, code, variables=["MY_REGION"])
    os.close(held)
    seen = set(table["seen"][0].as_py().split())
    assert {"MY_REGION", "LC_TIME", "PATH", "OMP_NUM_THREADS"} <= seen
    assert {name for name in seen if name.startswith(("AWS", "AIRFLOW", "SCORING"))} == set()
    assert table["fds"][0].as_py() == 6  # 0, 1, 2, two pipes, and the folder that is listed


def test_nothing_runs_where_the_digest_differs(empty: Place, old: Old, version: Version):
    source(empty, 5)
    ran = empty.folder / "ran"
    path = trained(empty, old)
    of = version(old)
    path.write_bytes(f"cbuiltins\nexec\n(Vopen({str(ran)!r}, 'w')\ntR.".encode())
    with pytest.raises(ModelError, match="is not the file that sample pins as v1"):
        run_steps(empty.run(job_of(empty, of)))
    assert not ran.exists()
    run_steps_fails = job_of(empty, version(old) | {"format": "joblib"})
    with pytest.raises(ModelError):  # pinned, it runs: the test above would notice
        run_steps(empty.run(run_steps_fails))
    assert ran.exists()


def test_a_model_of_another_release_than_the_environment_has(
    empty: Place, old: Old, newer: Old, version: Version
):
    if old.sklearn == newer.sklearn:
        pytest.skip("one release of scikit-learn on this machine")
    source(empty, 5)
    trained(empty, old, "RandomForestRegressor")
    pattern = rf"saved with scikit-learn {old.sklearn}, and its environment has {newer.sklearn}"
    with pytest.raises(ModelError, match=pattern) as refused:
        run_steps(empty.run(job_of(empty, version(newer))))
    accept = f'accept: {{scikit-learn: "{old.sklearn.rpartition(".")[0]}"}} beside it lets it pass'
    assert accept in str(refused.value)
    trained(empty, newer, "GradientBoostingRegressor")
    with pytest.raises(ModelError, match=r"scikit-learn==" + newer.sklearn):
        run_steps(empty.run(job_of(empty, version(old))))


def children() -> list[int]:
    me = os.getpid()
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == me and b"child.py" in command:
            found.append(int(stat.parent.name))
    return found


def test_one_child_serves_all_batches_and_ends_with_the_model(
    empty: Place, old: Old, version: Version
):
    others = {*children()}  # of models that earlier tests' exceptions still name

    def mine() -> list[int]:
        return [pid for pid in children() if pid not in others]

    source(empty, 5)
    trained(empty, old)
    run = empty.run(job_of(empty, version(old)))
    model = checked_model(run, run.model_file())
    assert isinstance(model, EnvironmentModel)
    first = mine()
    assert len(first) == 1
    assert checked_model(run, run.model_file()) is model
    assert mine() == first
    os.kill(first[0], signal.SIGKILL)
    with pytest.raises(ScorerError, match="SIGKILL"):
        run_steps(run)
    assert run_steps(run).rows.scored == 5  # a retry has a child again
    prepare._kept.clear()
    del model
    gc.collect()  # of the exception above, whose frames name the model
    assert mine() == []


def test_a_child_ends_with_a_parent_that_is_killed(empty: Place, old: Old, version: Version):
    source(empty, 5)
    trained(empty, old)
    run = empty.run(job_of(empty, version(old)))
    receiver, sender = os.pipe()
    pid = os.fork()
    if not pid:
        checked_model(run, run.model_file())
        os.write(sender, str(children()[0]).encode())  # a fork has no other children
        time.sleep(1000)
    child = int(os.read(receiver, 100))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert has_ended(child)
