"""The service answers with the bits of published months, whatever their jobs are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression

from scoring.cli.main import main
from scoring.job.loader import load_job
from scoring.models.folders import tree_digest
from scoring.serving.auth import digest
from tests.scoring.factories import MONTH, Place, linear, rows, run_steps
from tests.scoring.serving.true_service import served

ROWS = 300
TOKEN = "t0ken-of-a-service"


@dataclass(frozen=True)
class Month:
    """A job and its rows: what ``publish`` makes, and how many rows of it are what."""

    publish: Callable[[Place], dict[str, Any]]
    counts: dict[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ("y",)
    csv: bool = False


def some(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def version(place: Place, model: Any) -> dict[str, Any]:
    """The section ``model`` of a job, for a model that is stored with joblib."""
    sha256 = place.model(model, "v1.joblib")
    of = {"version": "v1", "uri": "{models}/v1.joblib", "in_force_from": MONTH, "sha256": sha256}
    return {"versions": [of]}


def linear_with_quarantine(place: Place) -> dict[str, Any]:
    """Each sort of number that is quarantined, and a row id that comes twice."""
    x: list[float | None] = list(some().normal(size=ROWS))
    x[3], x[4], x[5], x[6] = None, float("inf"), 1e6, float("nan")
    place.source(rows(ROWS, x=x, id=[*range(1, ROWS), 9]))
    place.model(LinearRegression().fit(pd.DataFrame({"x": [0.1, 0.7, 0.3]}), [0.3, 0.1, 0.7]))
    return {"inputs": {"x": {"type": "float64", "max": 1e5}}}


def classifier(place: Place) -> dict[str, Any]:
    """float32 and nullable integers in, classes that are texts and their probabilities out."""
    random = some()
    x = random.normal(size=ROWS).astype(np.float32)
    n = [None if i % 7 == 0 else i % 120 - 60 for i in range(ROWS)]
    frame = pd.DataFrame({"x": x, "n": pd.array(n, "Int64").to_numpy(float, na_value=np.nan)})
    classes = np.where(x > 0.5, "high", np.where(x > -0.5, "middle", "low"))
    place.source(rows(ROWS, x=pa.array(x), n=pa.array(n, pa.int8())))
    model = HistGradientBoostingClassifier(max_iter=10).fit(frame, classes)
    return {
        "inputs": {"x": {"type": "float32"}, "n": {"type": "int8", "nullable": True}},
        "output": {"prediction": "y", "probabilities": {"p_high": "high", "p_low": "low"}},
        "model": version(place, model),
    }


def doubles_of_floats(place: Place) -> dict[str, Any]:
    """float32 in the source and float64 in the contract; a value out of range."""
    x = some().normal(size=ROWS).astype(np.float32)
    x[10] = np.float32(123.1)
    place.source(rows(ROWS, x=pa.array(x)))
    place.model(LinearRegression().fit(pd.DataFrame({"x": [0.1, 0.7, 0.3]}), [0.3, 0.1, 0.7]))
    return {"inputs": {"x": {"type": "float64", "max": 100}}}


def moments(place: Place) -> dict[str, Any]:
    """Moments with a zone and without, and dates, some out of the month or missing."""
    zoned = [datetime(2013, 2, 1, tzinfo=UTC) + timedelta(hours=2.3 * i) for i in range(ROWS)]
    naive: list[Any] = [moment.replace(tzinfo=None) for moment in zoned]
    naive[5] = None
    days = [moment.date() for moment in zoned]
    place.source(
        rows(
            ROWS,
            zoned=pa.array(zoned, pa.timestamp("us", "America/New_York")),
            naive=pa.array(naive, pa.timestamp("ms")),
            day=pa.array(days, pa.date32()),
        )
    )
    code = (
        "def run(df):\n"
        "    y = df['zoned'].dt.hour + df['naive'].dt.day / 7 + df['day'].dt.day_of_year\n"
        "    return df.assign(y=y, seen=df['zoned'], at=df['naive'])[['y', 'seen', 'at']]\n"
    )
    return {
        "inputs": {
            "zoned": {"type": "timestamp", "timezone": "America/New_York"},
            "naive": {"type": "timestamp"},
            "day": {"type": "date"},
        },
        "source": {"date_column": "zoned"},
        "model": None,
        "scorer": place.scorer(code),
    }


def outputs_of_a_scorer(place: Place) -> dict[str, Any]:
    """Outputs of each type, with nulls and NaN; some rows are left out by the scorer."""
    place.source(rows(ROWS, x=some().normal(size=ROWS)))
    place.model(linear(0.1))
    code = (
        "import numpy as np, pandas as pd\n"
        "def run(df, model):\n"
        "    y = model.predict(df)\n"
        "    low = df['x'] < -1\n"
        "    return pd.DataFrame({\n"
        "        'y': y.astype('float32'),\n"
        "        'half': np.where(df['x'] > 1, np.nan, y / 3),\n"
        "        'far': np.where(df['x'] > 1, -np.inf, -0.0),\n"
        "        'n': (y * 1000).astype('int32'),\n"
        "        'is_low': low,\n"
        "        'word': np.where(low, None, 'w\\u00f6rd \"' + df['x'].round(1).astype(str)),\n"
        "        'day': pd.Timestamp('2013-02-01') + pd.to_timedelta((y * 1e6).round(), unit='us'),\n"
        "        'left_out': np.where(df['x'] > 1.5, 'too_high', None),\n"
        "    }, index=df.index)\n"
    )
    return {"scorer": place.scorer(code), "output": {"types": {"y": "float32"}}}


def rows_without_a_key(place: Place) -> dict[str, Any]:
    """Known by their place in two files."""
    for part in range(2):
        x: list[float | None] = list(some(part).normal(size=ROWS // 2))
        x[3] = None
        place.source(pa.table({"x": x}), f"{MONTH}/{part}.parquet")
    place.model()
    return {
        "row_id": "row_number",
        "source": {"uri": "{data}/source/{partition}/*.parquet"},
        "output": {"keep": ["x"]},
    }


def left_out_and_derived(place: Place, keep: bool = False) -> dict[str, Any]:
    """Inputs that are made by expressions, rows that are left out by expressions and by date."""
    random = some()
    days = [datetime(2013, 2, 1) + timedelta(hours=2.5 * i) for i in range(ROWS)]  # noqa: DTZ001
    place.source(
        rows(
            ROWS,
            a=random.integers(1, 50, ROWS),
            b=random.normal(size=ROWS).astype(np.float32),
            kind=random.choice(["bus", "train", "tram"], ROWS),
            moment=pa.array(days, pa.timestamp("us")),
        ).drop_columns("x")
    )
    place.model(linear(0.3, ("x", "clock")))
    return {
        "inputs": {"x": {"type": "float64"}, "clock": {"type": "int64"}},
        "source": {
            "date_column": "moment",
            "outside_partition": "leave_out",
            "derive": {"x": "a / 7 + b", "clock": "hour(moment)"},
        },
        "leave_out": {"is_tram": "kind = 'tram'", "is_odd": "a % 10 = 9"},
        "output": {"keep": ["kind", "x"], "keep_left_out": keep},
    }


def texts_as_keys(place: Place) -> dict[str, Any]:
    """Row ids that are a text and a date, kept columns of each type, decimals as numbers."""
    random = some()
    place.source(
        pa.table(
            {
                "code": [f"K{i % 30:03d} ä\"',\n" for i in range(ROWS)],
                "day": pa.array([date(2013, 2, 1 + i // 30) for i in range(ROWS)]),
                "x": pa.array([Decimal(f"{i}.{i:03d}") for i in range(ROWS)], pa.decimal128(9, 3)),
                "u": pa.array(range(ROWS), pa.uint16()),
                "flag": [None if i % 5 == 0 else i % 2 == 0 for i in range(ROWS)],
                "blob": [bytes([i % 256]) for i in range(ROWS)],
                "f": random.normal(size=ROWS).astype(np.float32),
            }
        )
    )
    model = RandomForestRegressor(5, random_state=0)
    x = np.arange(ROWS) / 3
    model.fit(pd.DataFrame({"x": x, "u": np.arange(ROWS), "flag": x > 5}), x * 1.1)
    return {
        "row_id": ["code", "day"],
        "inputs": {
            "x": {"type": "float64"}, "u": {"type": "int32"}, "flag": {"type": "boolean"},
        },
        "output": {"keep": ["f", "blob"]},
        "model": version(place, model),
    }  # fmt: skip


def csv_texts(place: Place) -> dict[str, Any]:
    """Texts, some of which are not the numbers that they should be."""
    lines = [f'{i},{i / 7!r},"n {i}, ""x"""' for i in range(1, ROWS + 1)]
    lines[4], lines[5], lines[6] = "5,five,n", "6,,n", "7,1e999,n"
    lines[7], lines[8] = " 8 , 1_000,n", "9, +2.50 ,NA"
    place.csv("\n".join(["id,x,note", *lines, ""]))
    place.model()
    source = {"uri": "{data}/source/{partition}.csv"}
    return {"source": source, "output": {"keep": ["note"]}}


def csv_without_a_key(place: Place) -> dict[str, Any]:
    place.csv("\n".join(["x", *(f"{i / 3!r}" if i % 9 else '""' for i in range(ROWS)), ""]))
    place.model()
    return {"row_id": "row_number", "source": {"uri": "{data}/source/{partition}.csv"}}


def query_of_files(place: Place) -> dict[str, Any]:
    place.source(rows(ROWS, x=some().normal(size=ROWS)))
    place.model()
    sql = "SELECT id, x * 2 AS x, CAST(x AS DECIMAL(18, 6)) AS exact FROM source ORDER BY id"
    return {"source": {"sql": sql}, "output": {"keep": ["exact"]}}


def signature_of_model(place: Place) -> dict[str, Any]:
    """An MLflow model whose signature is the contract."""
    n = pa.array([None if i % 11 == 0 else i for i in range(ROWS)], pa.int64())
    place.source(rows(ROWS, x=some().normal(size=ROWS), n=n))
    inputs = [{"name": "x", "type": "double"}, {"name": "n", "type": "long"}]
    mlmodel = {
        "flavors": {"sklearn": {"pickled_model": "model.skops"}},
        "signature": {"inputs": json.dumps(inputs)},
    }
    digests = {"model.skops": place.model(linear(0.3, ("x", "n")), "m/model.skops")}
    text = json.dumps(mlmodel).encode()  # JSON is YAML
    (place.data / "models" / "m" / "MLmodel").write_bytes(text)
    digests["MLmodel"] = hashlib.sha256(text).hexdigest()
    of = {"version": "v1", "uri": "{models}/m/", "in_force_from": MONTH}
    return {
        "inputs": None,
        "model": {"versions": [of | {"format": "mlflow", "sha256": tree_digest(digests)}]},
    }


MONTHS = {
    "linear": Month(linear_with_quarantine, {"quarantined": 4, "duplicate_row_id": 1}),
    "classifier": Month(classifier, columns=("y", "p_high", "p_low")),
    "doubles of floats": Month(doubles_of_floats, {"quarantined": 1}),
    "moments": Month(moments, {"quarantined": 8}, ("y", "seen", "at")),
    "outputs": Month(
        outputs_of_a_scorer, {"left_out": 19}, ("y", "half", "far", "n", "is_low", "word", "day")
    ),
    "without a key": Month(rows_without_a_key, {"quarantined": 2}),
    "left out": Month(left_out_and_derived, {"left_out": 122}, ("y", "x")),
    "left out, kept": Month(
        lambda place: left_out_and_derived(place, keep=True), {"left_out": 122}, ("y", "x")
    ),
    "texts as keys": Month(texts_as_keys, {"quarantined": 60}),
    "csv": Month(csv_texts, {"quarantined": 4}, csv=True),
    "csv without a key": Month(csv_without_a_key, {"quarantined": 34}, csv=True),
    "query": Month(query_of_files),
    "signature": Month(signature_of_model, {"quarantined": 28}),
}


def parity(place: Place, url: str, *options: str) -> int:
    places = ("--jobs", str(place.folder), "--data", str(place.data), "--connections", "3")
    return main(["parity", "sample", MONTH, "--url", url, *places, *options])


def with_bodies() -> list[Any]:
    """Each month, sent as JSON and as Arrow streams; texts are sent as CSV alone."""
    json_or_csv = [pytest.param(name, [], id=name) for name in MONTHS]
    typed = (name for name, month in MONTHS.items() if not month.csv)
    return [*json_or_csv, *(pytest.param(n, ["--arrow"], id=f"{n}, arrow") for n in typed)]


@pytest.mark.parametrize(("name", "body"), with_bodies())
def test_the_service_answers_with_the_bits_of_the_month(
    empty: Place, name: str, body: list[str], capsys: pytest.CaptureFixture[str]
):
    month = MONTHS[name]
    job = empty.job(**month.publish(empty))
    manifest = run_steps(empty.run(job))
    with served(job, empty.data) as url:
        status = parity(empty, url, *body, "--json", "--rows-per-request", "17")
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["columns"] == list(month.columns)
    found = report["rows"]
    wanted = manifest.rows
    assert found["in"] == wanted.rows_in == ROWS
    assert found["scored"] == wanted.scored > 0
    assert found["quarantined"] + found["duplicate_row_id"] == wanted.quarantined
    assert found["left_out"] == wanted.left_out
    assert month.counts == {name: found[name] for name in month.counts}


def test_one_row_at_a_time_gets_the_same_bits(empty: Place, capsys: pytest.CaptureFixture[str]):
    job = empty.job(**linear_with_quarantine(empty))
    run_steps(empty.run(job))
    with served(job, empty.data) as url:
        assert parity(empty, url, "--rows-per-request", "1") == 0
    assert "300 rows" in capsys.readouterr().out


def test_another_model_under_the_same_version_is_found(
    empty: Place, capsys: pytest.CaptureFixture[str]
):
    job = empty.job(**linear_with_quarantine(empty))
    run_steps(empty.run(job))
    empty.model(linear(0.3))
    with served(job, empty.data) as url:
        assert parity(empty, url, "--rows-per-request", "1000") == 8
    err = capsys.readouterr().err
    assert "model_sha256 1" in err
    assert "y 295" in err


def test_a_job_that_reads_its_rows_otherwise_is_found(
    empty: Place, capsys: pytest.CaptureFixture[str]
):
    run_steps(empty.run(empty.job(**linear_with_quarantine(empty))))
    job = empty.job(inputs={"x": {"type": "float64", "max": 2}})
    with served(job, empty.data) as url:
        assert parity(empty, url) == 8
    assert "is published as scored, answered as quarantined (above_max)" in capsys.readouterr().err


def test_the_token_is_the_services(place: Place, capsys: pytest.CaptureFixture[str]):
    job = place.job()
    run_steps(place.run(job))
    file = place.folder / "token"
    file.write_text(f"{TOKEN}\n")
    with served(job, place.data, tokens=frozenset({digest(TOKEN)})) as url:
        assert parity(place, url) == 1
        assert "without its token" in capsys.readouterr().err
        assert parity(place, url, "--token-file", str(file)) == 0
        file.write_text("another-token-of-a-service\n")
        capsys.readouterr()
        assert parity(place, url, "--token-file", str(file)) == 1
        assert "another-token" not in capsys.readouterr().err


def test_what_the_service_does_not_serve_is_said(place: Place, capsys: pytest.CaptureFixture[str]):
    run_steps(place.run(place.job()))
    other = place.folder / "other.yaml"
    other.write_text(place.job().path.read_text().replace("name: sample", "name: other"))
    with served(load_job(other), place.data) as url:
        assert parity(place, url) == 1
    assert "'sample' is not served; jobs: other" in capsys.readouterr().err


def test_too_many_rows_at_once_are_said(place: Place, capsys: pytest.CaptureFixture[str]):
    job = place.job()
    run_steps(place.run(job))
    with served(job, place.data, max_rows=5) as url:
        assert parity(place, url) == 1
        assert "Ask with fewer --rows-per-request" in capsys.readouterr().err
        assert parity(place, url, "--rows-per-request", "5") == 0


def test_a_queue_that_is_full_is_waited_for(empty: Place, capsys: pytest.CaptureFixture[str]):
    job = empty.job(**linear_with_quarantine(empty))
    run_steps(empty.run(job))
    with served(job, empty.data, max_queue=1, max_batch=1, max_wait_ms=1.0) as url:
        assert parity(empty, url, "--rows-per-request", "100") == 0
