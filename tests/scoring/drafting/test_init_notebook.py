"""``scoring init NOTEBOOK``: a notebook becomes a job that scores a month with at most two edits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression

from scoring.cli.main import main
from scoring.drafting.notebook import NotebookFacts, look_into_notebook
from scoring.job.loader import JobFile, load_job
from tests.scoring.notebooks import code, text, write_notebook

ROWS = 100
MOST_EDITS = 2

RUN = """
def run(df, model, dv):
    out = df[["trip_distance"]].copy()
    out["predicted_duration"] = model.predict(dv.transform(prepare(df)))
    return out[["predicted_duration"]]
"""
PREPARE = """
def prepare(df):
    df = df.copy()
    df["PU_DO"] = df["PU"].astype(str) + "_" + df.DO.astype(str)
    return df[features].to_dict("records")
"""
RIDES = (
    text("# Duration of rides"),
    code("%matplotlib inline\nimport joblib", "skip"),
    code('features = ["PU_DO", "trip_distance"]'),
    code('dv = joblib.load("dv.pkl")\nmodel = joblib.load("model.pkl")', "skip"),
    code(PREPARE),
    code(RUN),
)


def rides() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ride_id": range(ROWS),
            "pickup": pd.date_range("2024-03-01", periods=ROWS, freq="3h"),
            "PU": np.arange(ROWS) % 7,
            "DO": np.arange(ROWS) % 5,
            "trip_distance": np.linspace(1.0, 9.0, ROWS),
            "note": ["unread"] * ROWS,
        }
    )


class Desk:
    """The folder of somebody with a notebook: its files, a month of rides, the folder of jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.jobs = folder, folder / "data", folder / "jobs"
        self.data.mkdir()
        self.sample = self.data / "rides_2024-03.parquet"
        rides().to_parquet(self.sample)
        records = [
            {"PU_DO": f"{ride.PU}_{ride.DO}", "trip_distance": ride.trip_distance}
            for ride in rides().itertuples()
        ]
        vectorizer = DictVectorizer().fit(records)
        model = LinearRegression().fit(vectorizer.transform(records), rides()["trip_distance"] * 3)
        joblib.dump(vectorizer, folder / "dv.pkl")
        joblib.dump(model, folder / "model.pkl")

    def notebook(self, *cells: Any, name: str = "rides.ipynb") -> Path:
        write_notebook(self.folder / name, *cells)
        return self.folder / name

    def init(self, notebook: Path, *options: str) -> int:
        command = ["init", str(notebook), *options]
        return main([*command, "--jobs", str(self.jobs), "--data", str(self.data)])

    def with_sample(self, notebook: Path, *options: str) -> int:
        return self.init(notebook, "--sample", str(self.sample), *options)

    def job(self, name: str = "rides") -> JobFile:
        return load_job(self.jobs / f"{name}.yaml")

    def run(self, capsys: pytest.CaptureFixture[str], name: str = "rides") -> dict[str, Any]:
        capsys.readouterr()
        command = ["run", name, "2024-03", "--jobs", str(self.jobs), "--data", str(self.data)]
        status = main([*command, "--json", "--workers", "1"])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        manifest: dict[str, Any] = json.loads(printed.out)
        return manifest


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_notebook_and_a_month_are_a_job_without_an_edit(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    assert desk.with_sample(desk.notebook(*RIDES), "--trust") == 0
    printed = capsys.readouterr()
    assert "next: scoring run rides 2024-03" in printed.out
    assert "left to fill in" not in printed.out
    assert "caution: A pickle" in printed.err
    job = desk.job().job
    assert job.scorer == "rides.ipynb"
    assert (desk.jobs / "rides.ipynb").is_file()
    assert [*job.inputs] == ["trip_distance", "PU", "DO"]
    assert [column.type for column in job.inputs.values()] == ["float64", "int64", "int64"]
    assert job.output.prediction == "predicted_duration"
    assert job.model is not None
    assert [*job.model.files] == ["dv"]
    manifest = desk.run(capsys)
    assert manifest["rows"]["scored"] == ROWS
    assert manifest["statistics"]["predicted_duration"]["max"] == pytest.approx(27.0)


def test_without_the_users_word_two_digests_are_left(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    assert desk.with_sample(desk.notebook(*RIDES)) == 2
    printed = capsys.readouterr()
    assert "remove the # before sha256 if you trust the model file" in printed.out
    assert "add the sha256 of dv if you trust that file, too" in printed.out
    path = desk.jobs / "rides.yaml"
    before = path.read_text()
    after = before.replace("      # sha256:", "      sha256:")
    after = after.replace("}  # TODO: if you trust this file, add sha256: ", ", sha256: ")
    lines = [f"{line}}}" if line.startswith("    dv: ") else line for line in after.splitlines()]
    path.write_text("\n".join(lines))
    edits = sum(one != other for one, other in zip(before.splitlines(), lines, strict=True))
    assert edits <= MOST_EDITS
    assert desk.run(capsys)["rows"]["scored"] == ROWS


def test_a_notebook_without_a_model_needs_no_edit(desk: Desk, capsys: pytest.CaptureFixture[str]):
    alone = 'def run(df):\n    return (df["trip_distance"] * 3).to_frame("minutes")'
    assert desk.with_sample(desk.notebook(code(alone))) == 0
    printed = capsys.readouterr()
    assert "not tried, as that runs the cells of the notebook" in printed.err
    job = desk.job().job
    assert (job.model, job.output.prediction, [*job.inputs]) == (None, "minutes", ["trip_distance"])
    assert desk.run(capsys)["rows"]["scored"] == ROWS


def test_no_cell_is_run_without_the_users_word(desk: Desk):
    trace = desk.folder / "run"
    notebook = desk.notebook(
        code(f"open({str(trace)!r}, 'w').close()"),
        code(
            'def run(df):\n    return df[["trip_distance"]].rename(columns={"trip_distance": "y"})'
        ),
    )
    desk.with_sample(notebook)
    assert not trace.exists()
    (desk.jobs / "rides.yaml").unlink()
    (desk.jobs / "rides.ipynb").unlink()
    desk.with_sample(notebook, "--trust")
    assert trace.exists()


def test_a_notebook_among_the_jobs_stays_where_it_is(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    (desk.jobs / "books").mkdir(parents=True)
    alone = code('def run(df):\n    return (df["trip_distance"] * 3).to_frame("minutes")')
    assert desk.with_sample(desk.notebook(alone, name="jobs/books/rides.ipynb")) == 0
    assert desk.job().job.scorer == "books/rides.ipynb"
    assert sorted(path.name for path in desk.jobs.iterdir()) == ["books", "rides.yaml"]
    assert desk.run(capsys)["rows"]["scored"] == ROWS


def test_what_is_missing_is_listed(desk: Desk, capsys: pytest.CaptureFixture[str]):
    notebook = desk.notebook(
        text("words"),
        code("%matplotlib inline"),
        code('zones = pd.read_csv("zones.csv")'),
        code("def score(df):\n    return df"),
    )
    assert desk.with_sample(notebook) == 0
    printed = capsys.readouterr().out
    assert "cell 2, line 1 is for IPython alone: '%matplotlib inline'. Tag the cell skip" in printed
    assert "add a cell that defines run: def run(df, model)" in printed
    assert "cell 3 loads 'zones.csv' when the scorer is loaded" in printed
    todo = (desk.jobs / "rides.yaml").read_text().splitlines()[:3]
    assert all(line.startswith("# TODO: ") for line in todo)


def test_parameters_of_run_without_a_file_are_named(desk: Desk, capsys: pytest.CaptureFixture[str]):
    desk.with_sample(desk.notebook(code("def run(df, model, zones):\n    return df[['PU']]")))
    printed = capsys.readouterr().out
    assert "run is given 'zones': name its file in model.files" in printed
    assert "run is given 'model': give its file with --model" in printed


def test_a_model_can_be_named(desk: Desk, capsys: pytest.CaptureFixture[str]):
    frame = rides()
    simple = LinearRegression().fit(frame[["trip_distance"]], frame["trip_distance"] * 2)
    path = desk.folder / "simple.joblib"
    joblib.dump(simple, path)
    notebook = desk.notebook(
        code('def run(df, model):\n    return df.assign(y=model.predict(df))[["y"]]')
    )
    assert desk.with_sample(notebook, "--model", str(path), "--trust") == 0
    assert [*desk.job().job.inputs] == ["trip_distance"]  # those of the model, which gets them all
    assert desk.run(capsys)["statistics"]["y"]["max"] == pytest.approx(18.0)


def test_without_a_sample_the_draft_is_a_valid_job_with_placeholders(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    alone = code('def run(df):\n    return (df["trip_distance"] * df.PU).to_frame("minutes")')
    assert desk.init(desk.notebook(alone)) == 0
    assert "source.uri, start, row_id and the types of the inputs are placeholders" in (
        capsys.readouterr().out
    )
    job = desk.job().job
    assert ([*job.inputs], job.row_id) == (["trip_distance", "PU"], "row_number")
    assert (
        "trip_distance: {type: float64}             # TODO: its type"
        in (desk.jobs / "rides.yaml").read_text()
    )


def test_files_that_are_there_stay(desk: Desk, capsys: pytest.CaptureFixture[str]):
    notebook = desk.notebook(code("def run(df):\n    return df[['PU']]"))
    desk.jobs.mkdir()
    (desk.jobs / "rides.ipynb").write_text("mine")
    assert desk.with_sample(notebook) == 2
    assert "rides.ipynb is there already, and was left as it is" in capsys.readouterr().err
    assert [path.name for path in desk.jobs.iterdir()] == ["rides.ipynb"]
    assert (desk.jobs / "rides.ipynb").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content", "status", "message"),
    [
        ("rides.py", "", 2, "is not a notebook by its name"),
        ("rides.ipynb", "{", 6, "rides.ipynb is not a notebook that can be read"),
        ("absent.ipynb", None, 6, "absent.ipynb cannot be read: No such file"),
    ],
)
def test_what_is_not_a_notebook_is_refused(
    desk: Desk, name: str, content: str | None, status: int, message: str,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    if content is not None:
        (desk.folder / name).write_text(content)
    assert desk.with_sample(desk.folder / name) == status
    assert message in capsys.readouterr().err
    assert not desk.jobs.exists()


def facts_of(tmp_path: Path, *cells: str) -> NotebookFacts:
    name = write_notebook(tmp_path / "n.ipynb", *map(code, cells))
    return look_into_notebook(tmp_path / name)


@pytest.mark.parametrize(
    ("body", "columns"),
    [
        ('df["a"] + df.b', ["a", "b"]),
        ('df[["a", "b"]].sum(axis=1)', ["a", "b"]),
        ('df.loc[:, "a"]', ["a"]),
        ('df.loc[df["a"] > 1, "b"]', ["b", "a"]),
        ("df[wanted]", ["p", "q"]),
        ('df.assign(c=df["a"])["c"]', ["a"]),
        ('df.fillna(0)["a"]', ["a"]),
        ("df.shape, df.index, df.columns", []),
        ("other['a']", []),
        ("len(df)", []),
    ],
)
def test_the_columns_that_run_reads(tmp_path: Path, body: str, columns: list[str]):
    found = facts_of(tmp_path, 'wanted = ["p", "q"]', f"def run(df):\n    return {body}")
    assert sorted(found.columns) == sorted(columns)
    assert not found.reads_all


def test_a_column_that_is_made_before_it_is_read_is_not_an_input(tmp_path: Path):
    body = (
        "def run(df):\n"
        "    df['a'] = df['a'].fillna(0)\n"  # read before it is made
        "    df['b'] = df['a'] * 2\n"
        "    x = df.assign(c=1)\n"
        "    x['d'] = x['c'] + df['b'] + df['e']\n"
        "    return x[['d']]"
    )
    found = facts_of(tmp_path, body)
    assert found.columns == ["a", "e"]
    assert found.outputs == ["d"]


@pytest.mark.parametrize(
    "body", ["model.predict(df)", "df.to_dict('records')", "df.drop(columns=['a'])", "df.pipe(f)"]
)
def test_a_frame_that_is_handed_on_is_read_as_a_whole(tmp_path: Path, body: str):
    assert facts_of(tmp_path, f"def run(df, model):\n    return {body}").reads_all


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ('df[["y", "z"]]', ["y", "z"]),
        ('df.a.to_frame("y")', ["y"]),
        ('pd.DataFrame({"y": df.a, "z": 1}, index=df.index)', ["y", "z"]),
        ("df[wanted]", ["p", "q"]),
        ("df.a", []),
    ],
)
def test_the_columns_that_run_returns(tmp_path: Path, body: str, outputs: list[str]):
    found = facts_of(tmp_path, 'wanted = ["p", "q"]', f"def run(df):\n    return {body}")
    assert found.outputs == outputs


def test_files_are_found_whatever_loads_them(tmp_path: Path):
    found = facts_of(
        tmp_path,
        "import pickle\nwith open('m.pkl', 'rb') as f:\n    model = pickle.load(f)",
        "dv = sio.load('dv.skops', trusted=[])",
        "zones = pd.read_parquet('zones.parquet').set_index('zone')",
        "def run(df):\n    return df",
    )
    assert [(one.cell, one.variable, one.path) for one in found.loads] == [
        (1, "model", "m.pkl"),
        (2, "dv", "dv.skops"),
        (3, "zones", "zones.parquet"),
    ]
