"""Answers row by row and column by column: the same JSON, whatever the values and names are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from scoring.serving.answers import json_rows, json_texts
from scoring.serving.bodies import table_of_json
from scoring.serving.jobs import Jobs
from scoring.serving.scorer import RequestScorer
from scoring.serving.settings import Settings
from tests.scoring.factories import Place

SCORER = """
import datetime, decimal
import numpy as np, pandas as pd

def run(df):
    n = len(df)
    values = {
        "y": df["x"] / 3,
        'a "quoted" name': ['tab\\t and "quotes" and \\\\' for _ in range(n)],
        "100 %s of %(x)s": [None if i % 2 else f"{i} %" for i in range(n)],
        "Größe": np.where(np.arange(n) % 3 == 0, np.nan, 1e300),
        "endless": np.where(np.arange(n) % 2 == 0, np.inf, -np.inf),
        "whole": np.arange(n) - 2**62,
        "truth": np.arange(n) % 2 == 0,
        "day": [datetime.date(2013, 2, 1 + i % 28) for i in range(n)],
        "moment": pd.date_range("2013-02-01", periods=n, freq="h", tz="UTC"),
        "money": [decimal.Decimal(i) / 8 for i in range(n)],
        "bytes": [bytes([i % 256]) for i in range(n)],
        "list": [[i, None] for i in range(n)],
        "kind": pd.Categorical(["a" if i % 2 else 'b"' for i in range(n)]),
        "mixed": ["x", *[None] * (n - 1)],
        "left_out": ["by_hand" if x == 5 else None for x in df["x"]],
    }
    return pd.DataFrame({name: pd.Series(v, index=df.index) for name, v in values.items()})
"""


@pytest.fixture
def scorer(place: Place) -> RequestScorer:
    place.scorer(SCORER)
    inputs = {"x": {"type": "float64"}}
    output = {"prediction": "y", "keep": ['kept "%s"', "any"]}
    place.job(model=None, scorer="scorer.py", inputs=inputs, output=output)
    settings = Settings(
        paths=(place.folder / "sample.yaml",),
        folder=place.folder,
        clock=lambda: datetime(2013, 3, 1, tzinfo=UTC),
        data=str(place.data),
    )
    jobs = Jobs(settings)
    jobs.load()
    return jobs["sample"].in_force


def given(number: int, x: Any = 1.0) -> dict[str, Any]:
    texts = ["", 'a "b" \\ %s', "ü\u2028\x7f", None, 1.5, -0.0, True, 2**60, [1, {"a": None}]]
    return {"id": f"id {number}", "x": x, 'kept "%s"': texts[number % 9], "any": number % 3}


def test_both_ways_to_write_answers_are_the_same(scorer: RequestScorer):
    rows = [
        given(n, x)
        for n, x in enumerate([1.0, None, 2.0, "text", 5.0, *[n / 7 for n in range(30)]])
    ]
    table = table_of_json(rows, scorer.columns, scorer.job)
    answers = scorer.score(table)
    found = [text and json.loads(text) for text in json_texts(scorer, table, answers)]
    expected = []
    for row in json_rows(scorer, table, answers):
        del row["row"]
        expected.append("" if row["status"] == "quarantined" else json.loads(json.dumps(row)))
    assert found == expected
    assert [list(row) for row in found if row] == [list(row) for row in expected if row]  # in order
    kinds = [row["status"] if row else "quarantined" for row in found]
    assert (kinds.count("quarantined"), kinds.count("left_out")) == (2, 1)
    assert len(found) == 35
