"""``scoring init``: a model and a sample become a job that scores a month with at most two edits."""

from __future__ import annotations

import difflib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from scoring.cli.main import main
from scoring.drafting.months import dated_path
from scoring.job.loader import JobFile, load_job
from tests.scoring.factories import linear, save

MOST_EDITS = 2
ROWS = 200


def orders() -> pd.DataFrame:
    """Orders of March 2024: a key, a moment, a category, a count, a weight with nulls, a target."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "weight": draw.normal(5.0, 1.0, ROWS),
            "order_id": np.arange(ROWS) + 10_000,
            "at": pd.date_range("2024-03-01", periods=ROWS, freq="3h"),
            "carrier": np.tile(["AA", "no", "on"], ROWS)[:ROWS],
            "items": draw.integers(1, 9, ROWS),
            "late": np.arange(ROWS) % 3 == 0,
        }
    )
    frame.loc[[3, 77], "weight"] = None
    return frame


def pipeline(estimator: Any, inputs: tuple[str, ...] = ("carrier", "items", "weight")) -> Any:
    """A model of ``late`` that knows the carriers of the orders and refuses others, and nulls."""
    frame = orders().dropna()
    encoder = make_column_transformer((OneHotEncoder(), ["carrier"]), remainder="passthrough")
    return make_pipeline(encoder, estimator).fit(frame[list(inputs)], frame["late"])


class Desk:
    """The folders of somebody who begins a job."""

    def __init__(self, folder: Path) -> None:
        self.data, self.jobs = folder / "data", folder / "jobs"
        (self.data / "models").mkdir(parents=True)

    def sample(self, name: str, frame: pd.DataFrame | None = None) -> Path:
        frame, path = orders() if frame is None else frame, self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if ".csv" in name:
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        return path

    def model(self, model: Any, name: str) -> Path:
        save(model, self.data / "models" / name)
        return self.data / "models" / name

    def init(self, model: Path, sample: Path, *options: str) -> int:
        command = ["init", "--model", str(model), "--sample", str(sample), *options]
        return main([*command, "--jobs", str(self.jobs), "--data", str(self.data)])

    def job(self, name: str) -> JobFile:
        return load_job(self.jobs / f"{name}.yaml")

    def edit(self, name: str, change: Callable[[str], str]) -> int:
        """Changes the job file; returns how many of its lines are edited or new."""
        path = self.jobs / f"{name}.yaml"
        before = path.read_text()
        path.write_text(change(before))
        lines = difflib.ndiff(before.splitlines(), path.read_text().splitlines())
        return sum(line.startswith("+ ") for line in lines)

    def run(self, name: str, key: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        capsys.readouterr()
        command = ["run", name, key, "--jobs", str(self.jobs), "--data", str(self.data)]
        status = main([*command, "--json", "--workers", "1"])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        manifest: dict[str, Any] = json.loads(printed.out)
        return manifest


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("sample", ["orders/2024-03.parquet", "orders_202403.csv"])
@pytest.mark.parametrize("model", ["late.skops", "late.joblib"])
@pytest.mark.parametrize("estimator", [LinearRegression(), LogisticRegression()])
def test_a_model_and_a_month_are_a_job_without_an_edit(
    desk: Desk, estimator: Any, model: str, sample: str, capsys: pytest.CaptureFixture[str]
):
    options = ["--trust"] if model.endswith("joblib") else []
    assert desk.init(desk.model(pipeline(estimator), model), desk.sample(sample), *options) == 0
    printed = capsys.readouterr().out
    assert "destination ok" in printed  # `check --deep` ran to its end
    assert "next: scoring run late 2024-03" in printed
    job = desk.job("late").job
    assert list(job.inputs) == ["carrier", "items", "weight"]
    assert [column.type for column in job.inputs.values()] == ["string", "int64", "float64"]
    assert job.inputs["carrier"].allowed == ["AA", "no", "on"]
    assert not job.inputs["weight"].nullable  # the model was tried: it fails for nulls
    assert (job.row_id, job.source.date_column, job.start) == (["order_id"], "at", "2024-03")
    assert job.source.uri == "{data}/" + sample.replace("2024", "{year}").replace("03", "{month}")
    wanted = {} if isinstance(estimator, LinearRegression) else {"p_false": False, "p_true": True}
    assert job.output.probabilities == wanted
    manifest = desk.run("late", "2024-03", capsys)
    assert (manifest["rows"]["scored"], manifest["rows"]["quarantined"]) == (ROWS - 2, 2)


def test_a_model_that_takes_nulls_gets_them(desk: Desk, capsys: pytest.CaptureFixture[str]):
    frame = orders()
    model = HistGradientBoostingClassifier(max_iter=3).fit(
        frame[["items", "weight"]], frame["late"]
    )
    path = desk.model(model, "late.skops")
    assert desk.init(path, desk.sample("2024-03.parquet"), "--trust") == 0
    job = desk.job("late").job
    assert job.inputs["weight"].nullable
    assert not job.inputs["items"].nullable
    assert job.model is not None
    assert any("TreePredictor" in name for name in job.model.trusted_types)
    assert desk.run("late", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_the_draft_says_what_was_seen(desk: Desk):
    desk.init(
        desk.model(pipeline(LinearRegression()), "late.skops"), desk.sample("2024-03.parquet")
    )
    text = (desk.jobs / "late.yaml").read_text()
    lines = {line.split(":")[0].strip(): line.partition("#")[2] for line in text.splitlines()}
    assert lines["items"] == " seen: 1 to 8"
    assert lines["carrier"] == " seen: AA, no, on; the model fails for others"
    assert "2 of 200 null; the model fails for nulls" in lines["weight"]
    assert lines["row_id"] == " unique in the sample's 200 rows"
    assert "TODO" not in text


class Trap:
    """An object that leaves a trace where it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_pickle_is_not_loaded_without_the_users_word(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trap, trace = desk.data / "models" / "trap.pkl", tmp_path / "loaded"
    trap.write_bytes(pickle.dumps(Trap(trace)))
    status = desk.init(trap, desk.sample("2024-03.parquet"), "--target", "late")
    printed = capsys.readouterr()
    assert not trace.exists()
    assert status == 2  # the job file lacks the digest, until somebody gives their word
    assert "was not loaded without --trust. A pickle (joblib) runs code" in printed.out
    assert "sha256: missing" in printed.err
    assert "The draft is" in printed.err
    (desk.jobs / "trap.yaml").unlink()
    desk.init(trap, desk.sample("2024-03.parquet"), "--trust")
    assert trace.exists()  # the trap works
    assert "caution: A pickle" in capsys.readouterr().err


def test_a_pickle_of_an_old_protocol_is_one(desk: Desk, capsys: pytest.CaptureFixture[str]):
    path = desk.data / "models" / "late.pkl"
    path.write_bytes(pickle.dumps(pipeline(LogisticRegression()), protocol=0))
    sample = desk.sample("orders/2024-03.parquet")
    assert desk.init(path, sample, "--target", "late", "--trust", "--name", "late") == 0
    assert "format: joblib" in (desk.jobs / "late.yaml").read_text()
    assert desk.run("late", "2024-03", capsys)["rows"]["scored"] == ROWS - 2


def test_an_untrusted_pickle_is_two_edits_away_from_a_month(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    model = desk.model(pipeline(LinearRegression()), "late.joblib")
    assert desk.init(model, desk.sample("2024-03.parquet"), "--target", "late") == 2
    edits = desk.edit("late", lambda text: text.replace("      # sha256:", "      sha256:"))
    edits += desk.edit(
        "late",
        lambda text: text.replace(
            "weight: {type: float64, nullable: true}", "weight: {type: float64}"
        ),
    )
    assert edits <= MOST_EDITS
    assert desk.job("late").job.checks.max_quarantined_fraction == 0.01
    assert desk.run("late", "2024-03", capsys)["rows"]["quarantined"] == 2


def test_types_of_a_skops_file_are_listed_and_not_trusted(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    frame = orders()
    model = HistGradientBoostingClassifier(max_iter=3).fit(
        frame[["items", "weight"]], frame["late"]
    )
    path = desk.model(model, "late.skops")
    narrow = frame[["order_id", "items", "weight", "late"]]
    assert desk.init(path, desk.sample("2024-03.parquet", narrow), "--target", "late") == 5
    assert "contains types that late does not trust" in capsys.readouterr().err
    job = desk.job("late").job
    assert job.model is not None
    assert job.model.trusted_types == []
    edits = desk.edit("late", lambda text: text.replace("  # trusted_types:", "  trusted_types:"))
    assert edits <= MOST_EDITS
    assert desk.run("late", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_a_sample_without_a_date_in_its_name_is_one_month(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    assert (
        desk.init(desk.model(linear(1.0, ("items",)), "m.skops"), desk.sample("orders.parquet"))
        == 0
    )
    assert (
        "the sample's path has no date: put {year}-{month} in source.uri" in capsys.readouterr().out
    )
    job = desk.job("m").job
    assert (job.start, job.end, job.source.uri) == ("2024-03", "2024-03", "{data}/orders.parquet")
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == ROWS
    text = (desk.jobs / "m.yaml").read_text()
    assert text.startswith("# TODO: the sample's path has no date")


def test_without_any_date_the_month_is_a_placeholder(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    model = desk.model(linear(1.0, ("items",)), "m.skops")
    assert desk.init(model, desk.sample("orders.csv", orders().drop(columns="at"))) == 0
    assert "start is a placeholder" in capsys.readouterr().out
    assert desk.run("m", "2000-01", capsys)["rows"]["scored"] == ROWS


def test_rows_of_several_months_get_no_date_column(desk: Desk):
    frame = orders().assign(at=pd.date_range("2024-02-27", periods=ROWS, freq="3h"))
    assert (
        desk.init(
            desk.model(linear(1.0, ("items",)), "m.skops"), desk.sample("2024-03.parquet", frame)
        )
        == 0
    )
    assert desk.job("m").job.source.date_column is None


def test_moments_of_a_zone_decide_the_zone_of_the_job(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    frame = orders()
    frame["at"] = frame["at"].dt.tz_localize("America/New_York")  # in UTC, also 1 March, 05:00
    frame.loc[0, "at"] = pd.Timestamp("2024-03-31 23:30", tz="America/New_York")  # in UTC, April
    model = desk.model(linear(1.0, ("items",)), "m.skops")
    assert desk.init(model, desk.sample("2024-03.parquet", frame)) == 0
    job = desk.job("m").job
    assert (job.timezone, job.source.date_column) == ("America/New_York", "at")
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_a_file_for_a_day_is_a_job_of_days(desk: Desk, capsys: pytest.CaptureFixture[str]):
    model = desk.model(linear(1.0, ("items",)), "m.skops")
    assert desk.init(model, desk.sample("year=2024/month=03/day=07/orders.parquet")) == 0
    job = desk.job("m").job
    assert (job.partition, job.start, job.schedule) == ("day", "2024-03-07", "0 3 * * *")
    assert job.source.uri == "{data}/year={year}/month={month}/day={day}/orders.parquet"
    assert desk.run("m", "2024-03-07", capsys)["rows"]["scored"] == ROWS


HOSTILE = [
    "no", "on", "1", "1.5", "null", "~", "a: b", "a #b", "- a", "it's", 'say "x"', "ä ö €", "{a}",
    "[a]", "a, b", "&a", "*a", "!a", "%a", "@a", "`a", "2024-03-07", " a ", "?", "tab\there", "a\nb",
    "0x1f", "1_000", "true", "<<", "=", "", "é" * 200, "${HOME}", "a\\b", "'", '"',
]  # fmt: skip


def test_any_name_of_a_column_is_one_in_the_job_file(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    frame = pd.DataFrame({name: np.arange(5.0) + i for i, name in enumerate(HOSTILE)})
    frame["id"] = range(5)
    model = LinearRegression().fit(frame[HOSTILE], frame["id"])
    assert desk.init(desk.model(model, "m.skops"), desk.sample("2024-03.parquet", frame)) == 0
    assert list(desk.job("m").job.inputs) == HOSTILE
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == 5


def test_the_values_of_a_sample_cannot_write_lines_of_their_own(desk: Desk):
    evil = "x\nmodel: {versions: []}\x1b[2J"
    frame = orders().assign(carrier=[evil, *["AA"] * (ROWS - 1)])
    encoder = make_column_transformer((OneHotEncoder(), ["carrier"]))
    model = make_pipeline(encoder, LinearRegression()).fit(frame[["carrier"]], frame["items"])
    assert desk.init(desk.model(model, "m.skops"), desk.sample("2024-03.parquet", frame)) == 0
    assert desk.job("m").job.inputs["carrier"].allowed == sorted(["AA", evil])
    assert "\x1b" not in (desk.jobs / "m.yaml").read_text()


def test_the_key_is_as_small_as_it_can_be(desk: Desk):
    frame = orders().drop(columns="order_id")
    frame["shop"], frame["receipt"] = np.arange(ROWS) % 10, np.arange(ROWS) // 10
    frame["at"] = pd.Timestamp("2024-03-05")
    model = desk.model(linear(1.0, ("items",)), "m.skops")
    assert desk.init(model, desk.sample("2024-03.parquet", frame)) == 0
    assert desk.job("m").job.row_id == ["shop", "receipt"]


def test_rows_without_a_key_are_known_by_their_place(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    frame = pd.concat([orders()[["items", "weight"]].head(5)] * 2)
    model = desk.model(linear(1.0, ("items",)), "m.skops")
    assert desk.init(model, desk.sample("2024-03.parquet", frame)) == 0
    assert desk.job("m").job.row_id == "row_number"
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == 10


def test_a_model_behind_a_vectorizer_gets_records(desk: Desk, capsys: pytest.CaptureFixture[str]):
    frame = orders()
    records = frame[["carrier", "items"]].to_dict("records")
    model = make_pipeline(DictVectorizer(), LinearRegression()).fit(records, frame["late"])
    assert desk.init(desk.model(model, "m.skops"), desk.sample("2024-03.parquet")) == 0
    job = desk.job("m").job
    assert job.model is not None
    assert (job.model.input, list(job.inputs)) == ("records", ["carrier", "items"])
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_what_the_sample_lacks_is_left_to_derive(desk: Desk, capsys: pytest.CaptureFixture[str]):
    model = desk.model(linear(1.0, ("doubled",)), "m.skops")
    assert desk.init(model, desk.sample("2024-03.parquet")) == 3
    assert (
        "the model reads 'doubled', which is not in the sample: derive it"
        in capsys.readouterr().out
    )
    derive = '  derive: {doubled: "items * 2.0"}\n'
    edits = desk.edit("m", lambda text: text.replace("source:\n", f"source:\n{derive}"))
    assert edits <= MOST_EDITS
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_a_code_of_digits_stays_a_text_in_csv(desk: Desk):
    frame = orders().assign(zip=["01234", "00501"] * (ROWS // 2), flag=["1", "0"] * (ROWS // 2))
    model = desk.model(linear(1.0, ("items",)), "m.joblib")
    desk.init(model, desk.sample("2024-03.csv", frame))
    text = (desk.jobs / "m.yaml").read_text()
    assert "  zip: {type: string}" in text
    assert "  flag: {type: int64}" in text
    assert "  late: {type: boolean}" in text
    assert "  weight: {type: float64, nullable: true}" in text


def test_a_compressed_csv_is_read(desk: Desk, capsys: pytest.CaptureFixture[str]):
    model = desk.model(linear(1.0, ("items",)), "m.skops")
    assert desk.init(model, desk.sample("2024-03.csv.gz")) == 0
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_a_job_file_that_is_there_stays(desk: Desk, capsys: pytest.CaptureFixture[str]):
    model, sample = desk.model(linear(1.0, ("items",)), "m.skops"), desk.sample("2024-03.parquet")
    desk.jobs.mkdir()
    (desk.jobs / "m.yaml").write_text("mine")
    assert desk.init(model, sample) == 2
    assert "is there already, and was left as it is" in capsys.readouterr().err
    assert (desk.jobs / "m.yaml").read_text() == "mine"
    assert desk.init(model, sample, "--name", "other") == 0
    assert desk.job("other").job.name == "other"


@pytest.mark.parametrize(
    ("model", "sample", "status", "message"),
    [
        ("absent.skops", "2024-03.parquet", 5, "absent.skops cannot be read: No such file"),
        ("m.skops", "absent.parquet", 3, "absent.parquet cannot be read"),
        ("m.skops", "text.parquet", 3, "It has to be a parquet file"),
        ("m.skops", "empty.csv", 3, "has no rows"),
        ("m.skops", "twice.parquet", 3, "has more than one column 'x'; rename one"),
        ("text.parquet", "2024-03.parquet", 5, "is neither a skops nor a pickle"),
    ],
)
def test_what_cannot_be_read_leaves_no_draft(
    desk: Desk, model: str, sample: str, status: int, message: str,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    desk.model(linear(1.0, ("items",)), "m.skops")
    desk.sample("2024-03.parquet")
    desk.sample("empty.csv", orders().head(0))
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(twice, desk.data / "twice.parquet")
    for folder in (desk.data, desk.data / "models"):
        (folder / "text.parquet").write_text("not a table")
    assert desk.init(desk.data / "models" / model, desk.data / sample, "--name", "m") == status
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert not desk.jobs.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "1st"], "'1st' cannot be a job's name"),
        (["--out", "job.yml"], "a job file is called after its job"),
        (["--target", "delay"], "has no column 'delay'"),
    ],
)
def test_wrong_options_are_refused(
    desk: Desk, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    model, sample = desk.model(linear(1.0, ("items",)), "m.skops"), desk.sample("2024-03.parquet")
    assert desk.init(model, sample, *options) == 2
    assert message in capsys.readouterr().err
    assert not desk.jobs.exists()


def test_json_has_what_is_left_and_what_was_tried(desk: Desk, capsys: pytest.CaptureFixture[str]):
    model, sample = desk.model(linear(1.0, ("items",)), "m.skops"), desk.sample("2024-03.parquet")
    assert desk.init(model, sample, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "job": "m",
        "file": str(desk.jobs / "m.yaml"),
        "left": [],
        "notes": [],
        "tried": "2024-03",
    }


def test_the_flights_of_the_example_are_a_job_at_once(
    example_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    desk = Desk(tmp_path)
    for name in ("flights/year=2013/month=05/flights.parquet", "models/flight_delay/v1.skops"):
        (desk.data / name).parent.mkdir(parents=True, exist_ok=True)
        (desk.data / name).symlink_to(example_data / name)
    model, sample = (
        desk.data / "models/flight_delay/v1.skops",
        desk.data / "flights/year=2013/month=05/flights.parquet",
    )
    assert desk.init(model, sample, "--trust", "--name", "flights") == 0
    job = desk.job("flights").job
    assert job.source.uri == "{data}/flights/year={year}/month={month}/flights.parquet"
    assert job.inputs["dep_delay"].nullable
    assert job.row_id == ["flight", "time_hour", "carrier"]
    assert desk.run("flights", "2013-05", capsys)["rows"]["scored"] == 28_796


def test_wildcards_in_names_of_files_are_characters(desk: Desk, capsys: pytest.CaptureFixture[str]):
    model = desk.model(linear(1.0, ("items",)), "m[1].skops")
    assert desk.init(model, desk.sample("orders[*]_2024-03.parquet"), "--name", "m") == 0
    assert desk.job("m").job.source.uri == "{data}/orders[[][*]]_{year}-{month}.parquet"
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_a_model_that_refuses_most_rows_is_drafted_all_the_same(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    frame = orders().assign(weight=[1.0] + [None] * (ROWS - 1))
    model = linear(1.0, ("weight",))
    assert desk.init(desk.model(model, "m.skops"), desk.sample("2024-03.parquet", frame)) == 0
    assert desk.job("m").job.checks.max_quarantined_fraction == 1.0
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == 1


MLMODEL = f"""\
flavors:
  sklearn:
    pickled_model: model.pkl
    serialization_format: pickle
    sklearn_version: {sklearn.__version__}
signature:
  inputs: '[{{"type": "long", "name": "items", "required": true}}]'
"""


@pytest.mark.parametrize("word", [[], ["--trust"]])
def test_the_signature_of_an_mlflow_folder_is_the_contract(
    desk: Desk, word: list[str], capsys: pytest.CaptureFixture[str]
):
    folder = desk.data / "models" / "ride"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "model.pkl").write_bytes(pickle.dumps(linear(3.0, ("items",))))
    status = desk.init(folder, desk.sample("2024-03.parquet"), *word)
    assert status == (0 if word else 5)  # a folder may run code too
    edits = desk.edit("ride", lambda text: text.replace("      # sha256:", "      sha256:"))
    assert edits == (0 if word else 1)
    job = desk.job("ride").job
    assert job.model is not None
    assert (job.inputs, job.model.versions[0].uri) == ({}, "{models}/ride/")
    assert desk.run("ride", "2024-03", capsys)["rows"]["scored"] == ROWS


def test_a_model_without_names_says_how_many_columns_it_expects(
    desk: Desk, capsys: pytest.CaptureFixture[str]
):
    frame = orders()[["order_id", "items", "late"]].assign(price=range(ROWS))
    model = LinearRegression().fit(frame[["items"]].to_numpy(), frame["late"])
    path, sample = desk.model(model, "m.skops"), desk.sample("2024-03.parquet", frame)
    assert desk.init(path, sample, "--target", "late") == 6  # tried with one column too many
    printed = capsys.readouterr()
    assert "expects 1 columns; the draft has 2" in printed.out
    text = (desk.jobs / "m.yaml").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("  price:")]
    desk.edit("m", lambda text: text.replace(f"{line}\n", ""))
    assert desk.run("m", "2024-03", capsys)["rows"]["scored"] == ROWS


@pytest.mark.parametrize(
    ("path", "template", "key"),
    [
        ("/a/2024-03.parquet", "/a/{year}-{month}.parquet", "2024-03"),
        ("/a/rides_202403_v2.csv", "/a/rides_{year}{month}_v2.csv", "2024-03"),
        ("/a/2024/03/x.parquet", "/a/{year}/{month}/x.parquet", "2024-03"),
        ("/a/2024/rides-2024-03.csv", "/a/{year}/rides-{year}-{month}.csv", "2024-03"),
        ("/a/year=2024/month=03/x_2024-03.parquet", "/a/year={year}/month={month}/x_{year}-{month}.parquet", "2024-03"),
        ("/a/2024-03-07.csv", "/a/{year}-{month}-{day}.csv", "2024-03-07"),
        ("/a/2024-03/2024-03-07.csv", "/a/{year}-{month}/{year}-{month}-{day}.csv", "2024-03-07"),
        ("/a/v1.0/2023-12/2024-03.csv", "/a/v1.0/2023-12/{year}-{month}.csv", "2024-03"),
    ],
)  # fmt: skip
def test_a_date_in_a_path_becomes_fields(path: str, template: str, key: str):
    found = dated_path(path)
    assert found is not None
    assert (found.template, found.key) == (template, key)


@pytest.mark.parametrize("path", ["/a/x.csv", "/a/2024-13.csv", "/a/20240399.csv", "/a/123456.csv"])
def test_other_numbers_in_a_path_are_not_a_date(path: str):
    assert dated_path(path) is None


def _lightgbm(x: pd.DataFrame, y: pd.Series, path: Path) -> None:
    import lightgbm

    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1}
    lightgbm.train(parameters, lightgbm.Dataset(x, y), 3).save_model(str(path))


def _xgboost(x: pd.DataFrame, y: pd.Series, path: Path) -> None:
    import xgboost

    xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(x, y).save_model(path)


def _catboost(x: pd.DataFrame, y: pd.Series, path: Path) -> None:
    import catboost

    model = catboost.CatBoostClassifier(iterations=3, verbose=0, thread_count=1)
    model.set_params(train_dir=str(path.parent / "info")).fit(x, y).save_model(str(path))


def _onnx(x: pd.DataFrame, y: pd.Series, path: Path) -> None:
    from skl2onnx import to_onnx

    model = LogisticRegression().fit(x.to_numpy(np.float32), y)
    path.write_bytes(to_onnx(model, x[:1].to_numpy(np.float32)).SerializeToString())


@pytest.mark.parametrize(
    ("name", "save_as", "format_line", "names_inputs"),
    [
        ("model.txt", _lightgbm, "      format: lightgbm", True),
        ("model.json", _xgboost, "      format: xgboost", True),
        ("model.cbm", _catboost, None, True),
        ("model.onnx", _onnx, None, False),
    ],
)
def test_files_of_other_libraries_are_data_and_need_no_trust(
    desk: Desk,
    capsys: pytest.CaptureFixture[str],
    name: str,
    save_as: Callable[[pd.DataFrame, pd.Series, Path], None],
    format_line: str | None,
    names_inputs: bool,
):
    """ONNX does not name its inputs: they are put in their order by hand, one line before another."""
    frame = orders().fillna(5.0)
    save_as(frame[["items", "weight"]], frame["late"].astype(int), desk.data / "models" / name)
    sample = desk.sample("orders/2024-03.parquet", frame.drop(columns="carrier"))
    status = desk.init(desk.data / "models" / name, sample, "--target", "late", "--name", "late")
    printed = capsys.readouterr()
    assert "--trust" not in printed.out + printed.err
    lines = (desk.jobs / "late.yaml").read_text().splitlines()
    assert not any("sha256" in line for line in lines)
    assert [line for line in lines if "format:" in line] == ([format_line] if format_line else [])
    assert status == 0, printed.err
    if not names_inputs:
        assert "gets them in the order of the job file" in printed.out
        (weight,) = [line for line in lines if line.startswith("  weight:")]
        (items,) = [line for line in lines if line.startswith("  items:")]
        text = "\n".join(lines)
        assert text.index(weight) < text.index(items)
        desk.edit("late", lambda t: t.replace(f"{weight}\n{items}", f"{items}\n{weight}"))
    manifest = desk.run("late", "2024-03", capsys)
    assert manifest["rows"]["scored"] == ROWS
