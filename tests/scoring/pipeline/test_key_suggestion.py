"""A row id that is repeated: which further columns would tell the rows apart."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from scoring.errors import ContractError
from scoring.pipeline.rehearsal import rehearse
from tests.scoring.factories import Place, extracted

STRICT = {"checks": {"max_quarantined_fraction": 0.0}}


def problem(place: Place, deep: bool, **job: Any) -> str:
    run = place.run(place.job(**STRICT, **job))
    with pytest.raises(ContractError) as error:
        rehearse(run) if deep else extracted(run)
    return str(error.value)


def rides(**columns: list[Any]) -> pa.Table:
    return pa.table({"id": [1, 1, 2, 3, 3], "x": [1.0] * 5} | columns)


@pytest.mark.parametrize("deep", [False, True])
def test_a_column_that_the_job_does_not_read_is_suggested(empty: Place, deep: bool):
    empty.source(
        rides(
            same=["u"] * 5,
            some=[None, "b", "c", "d", "e"],  # a row with a null in its id would be quarantined
            tags=[[1], [2], [3], [4], [5]],  # an id is one value
            at=[10, 20, 10, 10, 20],
        )
    )
    empty.model()
    message = problem(empty, deep)
    assert "with at in row_id, too, the rows that share an id here would have ids" in message
    assert message.index("with at in row_id") < message.index("max_quarantined_fraction to what")


@pytest.mark.parametrize("deep", [False, True])
def test_two_columns_together_are_suggested_where_one_is_not_enough(empty: Place, deep: bool):
    empty.csv("id,x,day,hour\n1,1,a,7\n1,1,a,8\n2,1,a,7\n2,1,b,7\n")
    empty.model()
    source = {"uri": "{data}/source/{partition}.csv"}
    assert "with day and hour in row_id, too" in problem(empty, deep, source=source)


def test_three_columns_are_found_step_by_step(empty: Place):
    cells = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    a, b, c = ([cell[n] for cell in cells] for n in range(3))
    empty.source(pa.table({"id": [1] * 8, "x": [1.0] * 8, "a": a, "b": b, "c": c}))
    empty.model()
    assert "with a and b and c in row_id, too" in problem(empty, deep=False)


def test_rows_that_are_equal_are_for_the_source_or_for_row_numbers(empty: Place):
    empty.source(rides(at=[1, 1, 2, 3, 3]))
    empty.model()
    message = problem(empty, deep=False)
    assert "no 4 other columns tell these rows apart: remove the repeats from the source" in message
    assert "row_id: row_number" in message
    assert len(extracted(empty.run(empty.job(row_id="row_number"))).shards) == 1
