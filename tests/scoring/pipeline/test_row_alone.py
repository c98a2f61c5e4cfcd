"""A row's prediction and verdict depend on that row, the job and the model alone.

Tables of all types are shuffled, split into files, read in other batches and stored in other ways
(parquet, CSV, Postgres): each row must come out as it does when it is read alone.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.contract.rules import Contract
from scoring.engine import score_table
from scoring.job.loader import JobFile, load_job
from scoring.job.source import SourceConfig
from scoring.sources.base import open_source
from scoring.sources.csv_text import NULL_TEXTS
from scoring.storage.connections import Connections
from tests.scoring.factories import JOB, MONTH, Place
from tests.warehouse import Warehouse

EXAMPLES = int(os.environ.get("ROW_ALONE_EXAMPLES", "200"))

INPUTS: dict[str, dict[str, Any]] = {
    "n": {"type": "int64", "nullable": True},
    "i": {"type": "int64", "min": -5},
    "small": {"type": "int8", "nullable": True},
    "f": {"type": "float64", "nullable": True, "max": 0.6},
    "rate": {"type": "float64", "allowed": [0, 0.05, 0.35, 0.57, 1e300]},
    "g": {"type": "float32", "nullable": True},
    "s": {"type": "string", "nullable": True},
    "kind": {"type": "string", "allowed": ["a", "b"]},
    "b": {"type": "boolean", "nullable": True},
    "t": {"type": "timestamp", "nullable": True},
    "far": {"type": "timestamp", "nullable": True, "unit": "us"},
    "z": {"type": "timestamp", "nullable": True, "timezone": "UTC"},
    "d": {"type": "date", "nullable": True},
}

MICROSECONDS = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
ANY_YEAR = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001
WHOLE = st.integers(-9, 9) | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1])
TENTHS = st.integers(-20, 20).map(lambda tenths: tenths / 10) | st.sampled_from([0.05, 0.35, 0.57])
FLOATS = TENTHS | st.sampled_from([-0.0, 1e300, 5e-324, float("inf"), 3.0])
TEXTS = st.text("ab,\"' \n\r€", max_size=4).filter(lambda text: text not in NULL_TEXTS) | st.just(
    "5"
)

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.none() | WHOLE | st.just(2.5),
            "i": st.none() | WHOLE,
            "small": st.none() | st.integers(-130, 130),
            "f": st.none() | FLOATS,
            "rate": FLOATS,
            "g": st.none() | TENTHS,
            "s": st.none() | TEXTS,
            "kind": st.none() | st.sampled_from(["a", "b", "c"]),
            "b": st.none() | st.booleans(),
            "t": st.none() | MICROSECONDS | ANY_YEAR,
            "far": st.none() | ANY_YEAR,
            "z": st.none() | MICROSECONDS.map(lambda moment: moment.replace(tzinfo=UTC)),
            "d": st.none() | st.dates(),
        }
    ),
    min_size=1,
    max_size=8,
)

Row = dict[str, Any]
Outcome = dict[str, str]


class InWords:
    """A model that says what it was given for each row: the dtype and the value of each input."""

    inputs = classes = native = None
    runtime_versions: dict[str, str] = {}  # noqa: RUF012

    def predict(self, frame: pd.DataFrame) -> list[str]:
        dtypes = [f"{name} {dtype}" for name, dtype in frame.dtypes.items()]
        records = zip(*(frame[name].astype(object) for name in frame.columns), strict=True)
        return [
            "; ".join(f"{d}: {_shown(v)}" for d, v in zip(dtypes, r, strict=True)) for r in records
        ]

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        raise NotImplementedError


def _shown(value: Any) -> str:
    return (
        "null" if pd.isna(value) else repr(value.item() if isinstance(value, np.generic) else value)
    )


def outcomes(job_file: JobFile, place: Place, batch: int) -> Outcome:
    """For each row id what the model was given, or why it was not."""
    job = job_file.job
    partition = job.parse(MONTH)
    source = open_source(job, partition, job_file.roots(str(place.data)), Connections())
    contract, found = Contract(job, partition, source.text_only), {}
    for table in source.batches(repeat(batch)):
        typed, verdicts = contract.check(table, source.uri)
        ids = [str(i) for i in table.column("id").to_pylist()]
        found |= {i: str(contract.rules[v - 1]) for i, v in zip(ids, verdicts, strict=True) if v}
        good = typed.filter(pa.array(verdicts == 0))
        scored = score_table(good, InWords(), job).table  # type: ignore[arg-type]
        found |= {str(row["id"]): row["y"] for row in scored.to_pylist()}
    assert len(found) > 0
    return found


def job_of(place: Place, **source: Any) -> JobFile:
    """The job with that source; its file is written once, as reading it takes longer than a test."""
    path = place.folder / "sample.yaml"
    if not path.exists():
        uri = {"uri": "{data}/source/*.parquet"}
        path.write_text(yaml.safe_dump(JOB | {"source": uri, "inputs": INPUTS}, sort_keys=False))
    job_file = load_job(path)
    job = job_file.job.model_copy(update={"source": SourceConfig(**source)})
    return replace(job_file, job=job)


def parquet_column(
    name: str, values: list[Any], of_all: list[Any], chance: random.Random
) -> pa.Array:
    """The same values in one of the types in which a parquet file may hold them.

    ``of_all`` are those of all files: types that no common one can hold exactly are an error.
    """
    kind = INPUTS[name]["type"]
    if kind.startswith("int"):
        fractions = any(isinstance(v, float) for v in of_all)
        exact = all(v is None or abs(v) <= 2**53 for v in of_all)
        choices = [pa.decimal128(25, 2)]
        if not fractions:
            choices += [pa.int64(), pa.decimal128(20, 0)]
        if exact:
            choices.append(pa.float64())
        target = chance.choice(choices)
        if pa.types.is_decimal(target):
            return pa.array([None if v is None else Decimal(str(v)) for v in values], target)
        return pa.array(values, target)
    if kind.startswith("float"):
        short = all(v is None or (abs(v) < 100 and round(v, 2) == v) for v in values)
        if short and chance.random() < 0.5:
            texts = [None if v is None else Decimal(repr(v)) for v in values]
            return pa.array(texts, pa.decimal128(12, chance.choice([2, 3])))
        return pa.array(values, pa.float64())
    if kind == "string":
        target = chance.choice(
            [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
        )
        return pa.array(values, pa.string()).cast(target)
    if kind == "timestamp":
        zone = chance.choice(["UTC", "Asia/Tokyo"]) if name == "z" else None
        near = all(v is None or 1700 <= v.year < 2200 for v in values)
        return pa.array(values, pa.timestamp(chance.choice(["us", "ns"]) if near else "us", zone))
    if kind == "date":
        return pa.array(values, chance.choice([pa.date32(), pa.date64()]))
    return pa.array(values, pa.bool_())


def write_parquet(
    path: Path, rows: list[tuple[int, Row]], of_all: list[tuple[int, Row]], chance: random.Random
) -> None:
    columns = {
        name: parquet_column(name, [r[name] for _, r in rows], [r[name] for _, r in of_all], chance)
        for name in INPUTS
    }
    table = pa.table({"id": pa.array([i for i, _ in rows], pa.int64()), **columns})
    pq.write_table(
        table, path, row_group_size=chance.randint(1, 4), store_schema=chance.random() < 0.5
    )


def as_text(value: Any, chance: random.Random) -> str:
    """The same value in one of the ways in which a CSV file may say it."""
    if value is None:
        return chance.choice(NULL_TEXTS)
    if isinstance(value, bool):
        return chance.choice([str(value), str(value).lower(), str(int(value))])
    if isinstance(value, int):
        return chance.choice([str(value), f"{value}.0"] if abs(value) < 2**53 else [str(value)])
    if isinstance(value, float):
        return chance.choice([repr(value), f" {value!r}"])
    if isinstance(value, datetime) and value.tzinfo:
        zone = timezone(timedelta(minutes=chance.choice([0, -300, 330])))
        return value.astimezone(zone).isoformat(chance.choice("T "))
    if isinstance(value, datetime):
        return value.isoformat(chance.choice("T "))
    return value.isoformat() if isinstance(value, date) else str(value)


def write_csv(path: Path, rows: list[tuple[int, Row]], chance: random.Random) -> None:
    # Python's writer quotes a carriage return only where it ends lines, until 3.13.
    plain = all("\r" not in (row["s"] or "") for _, row in rows)
    quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]) if plain else csv.QUOTE_ALL
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator=chance.choice(["\n", "\r\n"]))
        writer.writerow(["id", *INPUTS])
        for i, row in rows:
            writer.writerow([i, *(as_text(row[name], chance) for name in INPUTS)])


def in_files(
    place: Place, rows: list[tuple[int, Row]], suffix: str, files: int, chance: random.Random
) -> JobFile:
    """The job that reads these rows from ``files`` files."""
    folder = place.data / "source"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size = -(-len(rows) // files)
    for start in range(0, len(rows), size):
        path, part = folder / f"{start:03d}.{suffix}", rows[start : start + size]
        if suffix == "csv":
            write_csv(path, part, chance)
        else:
            write_parquet(path, part, rows, chance)
    return job_of(place, uri=f"{{data}}/source/*.{suffix}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("alone"))


def each_alone(place: Place, numbered: list[tuple[int, Row]]) -> Outcome:
    """What becomes of each row that is read by itself."""
    found: Outcome = {}
    for row in numbered:
        job = in_files(place, [row], "parquet", 1, random.Random(0))
        found |= outcomes(job, place, 1)
    return found


@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 2**32), suffix=st.sampled_from(["parquet", "csv"]))
def test_a_row_is_the_same_among_any_others_and_however_it_is_stored(
    folder: Place, rows: list[Row], seed: int, suffix: str
):
    chance = random.Random(seed)
    numbered = list(enumerate(rows))
    expected = each_alone(folder, numbered)
    chance.shuffle(numbered)
    job = in_files(folder, numbered, suffix, chance.randint(1, 3), chance)
    assert outcomes(job, folder, chance.choice([1, 2, 3, 1000])) == expected


@pytest.mark.integration
@settings(max_examples=EXAMPLES, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 2**32))
def test_a_row_is_the_same_from_postgres(
    folder: Place, warehouse: Warehouse, rows: list[Row], seed: int
):
    chance = random.Random(seed)
    numbered = list(enumerate(rows))
    expected = each_alone(folder, numbered)
    chance.shuffle(numbered)
    numeric = any(row["n"] == 2.5 for row in rows) or chance.random() < 0.5
    types = {
        "n": "numeric" if numeric else "bigint", "i": chance.choice(["bigint", "numeric"]), "small": "smallint",
        "f": "double precision", "rate": "double precision", "g": "double precision", "s": "text",
        "kind": "text", "b": "boolean", "t": "timestamp", "far": "timestamp", "z": "timestamptz", "d": "date",
    }  # fmt: skip
    records = ", ".join(
        f"({i}, {', '.join(_literal(row[name], types[name]) for name in INPUTS)})"
        for i, row in numbered
    )
    names = ", ".join(["id", *INPUTS])
    sql = (
        f"SELECT {names} FROM (VALUES {records}) AS v ({names}) ORDER BY md5(id::text || '{seed}')"
    )
    job = job_of(folder, sql=sql, conn_id="warehouse")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse.connection())
        assert outcomes(job, folder, chance.choice([1, 2, 3, 1000])) == expected


def _literal(value: Any, kind: str) -> str:
    if value is None:
        return f"NULL::{kind}"
    text = str(value).replace("'", "''")
    return f"'{text}'::{kind}"
