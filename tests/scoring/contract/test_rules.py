from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from scoring.contract.advice import advice_for
from scoring.contract.gates import check_gates
from scoring.contract.rules import Contract, Rule
from scoring.contract.tally import Tally
from scoring.errors import ContractError
from scoring.job.partitions import parse_key
from scoring.job.schema import Job
from tests.scoring.factories import JOB, merged

NAN = float("nan")


def job(**changes: Any) -> Job:
    return Job.model_validate(merged(JOB, changes))


def contract(key: str | None = None, text_only: bool = False, **changes: Any) -> Contract:
    of_job = job(**changes)
    return Contract(of_job, of_job.parse(key or of_job.start), text_only)


def broken(contract: Contract, table: pa.Table) -> list[str]:
    """For each row the rule that it breaks, or ''."""
    _, verdicts = contract.check(table, "somewhere")
    return [str(contract.rules[v - 1]) if v else "" for v in verdicts]


def of_x(values: Any, column: dict[str, Any], text_only: bool = False) -> list[str]:
    """What is wrong with the values of an input x."""
    table = pa.table({"id": range(len(values)), "x": values})
    return broken(contract(inputs={"x": column}, text_only=text_only), table)


@pytest.mark.parametrize(
    ("column", "values", "reasons"),
    [
        ({"type": "float64"}, [1.0, None, NAN], ["", "missing_value: x", "missing_value: x"]),
        ({"type": "float64", "nullable": True}, [1.0, None, NAN], ["", "", ""]),
        ({"type": "float64"}, [float("inf"), -float("inf"), 1.0], ["infinite: x", "infinite: x", ""]),
        ({"type": "float32"}, pa.array([1e300, 1.0]), ["infinite: x", ""]),
        ({"type": "float64", "min": 0, "max": 1}, [0.0, 1.0, -0.1, 1.1], ["", "", "below_min: x", "above_max: x"]),
        ({"type": "int64", "min": 0.5}, [0, 1], ["below_min: x", ""]),
        ({"type": "int64", "max": 2**53}, [2**53, 2**62], ["", "above_max: x"]),
        ({"type": "int64", "min": 0, "nullable": True}, [None, -1], ["", "below_min: x"]),
        ({"type": "int64", "nullable": True}, [1.0, NAN, 2.5], ["", "", "wrong_type: x"]),
        ({"type": "int64"}, [1.0, NAN, 2.5], ["", "missing_value: x", "wrong_type: x"]),
        ({"type": "int8"}, [127, 128], ["", "wrong_type: x"]),
        ({"type": "string", "allowed": ["a", "b"]}, ["a", "c", None], ["", "not_allowed: x", "missing_value: x"]),
        ({"type": "string", "allowed": ["a"], "nullable": True}, ["a", None], ["", ""]),
        ({"type": "int64", "allowed": [1, 2]}, [1, 3], ["", "not_allowed: x"]),
        ({"type": "boolean", "allowed": [True]}, [True, False], ["", "not_allowed: x"]),
        ({"type": "string"}, ["", "x"], ["", ""]),
    ],
)  # fmt: skip
def test_each_broken_rule_has_its_reason(column: dict[str, Any], values: Any, reasons: list[str]):
    assert of_x(values, column) == reasons


@pytest.mark.parametrize(
    ("column", "texts", "reasons"),
    [
        ({"type": "float64", "min": 0}, ["1", "much", "-1"], ["", "wrong_type: x", "below_min: x"]),
        ({"type": "float64"}, ["1", None], ["", "missing_value: x"]),
        ({"type": "int64", "nullable": True}, ["1", "1.5", None], ["", "wrong_type: x", ""]),
        ({"type": "boolean"}, ["true", "maybe"], ["", "wrong_type: x"]),
        ({"type": "date"}, ["2013-02-01", "1.2.2013"], ["", "wrong_type: x"]),
        ({"type": "string", "allowed": ["7"]}, ["7", "07"], ["", "not_allowed: x"]),
    ],
)  # fmt: skip
def test_the_text_of_a_csv_is_judged_by_what_it_says(
    column: dict[str, Any], texts: list[str | None], reasons: list[str]
):
    assert of_x(pa.array(texts), column, text_only=True) == reasons


def test_a_row_has_the_first_reason_in_the_order_of_the_columns():
    of_job = contract(inputs={"a": {"type": "int8"}, "b": {"type": "int8", "min": 0}})
    table = pa.table({"id": [None, 2, 3, 4], "a": [999, 999, 1, 1], "b": [-1, -1, -1, 1]})
    assert broken(of_job, table) == ["null_row_id: id", "wrong_type: a", "below_min: b", ""]


def test_a_row_id_may_not_be_null_or_nan():
    table = pa.table({"id": [1.0, NAN, None], "x": [1.0, 1.0, 1.0]})
    assert broken(contract(), table) == ["", "null_row_id: id", "null_row_id: id"]


def test_the_typed_table_has_the_types_of_the_contract_and_keeps_the_order():
    of_job = contract(
        inputs={"x": {"type": "float64"}, "n": {"type": "int16", "nullable": True}},
        output={"keep": ["place"]},
    )
    table = pa.table({"n": [2.0, None], "place": ["a", "b"], "id": [7, 8], "x": pa.array([1, 2])})
    typed, verdicts = of_job.check(table, "somewhere")
    assert typed.column_names == ["n", "place", "id", "x"]
    assert [typed.schema.field(n).type for n in ("n", "id", "x")] == [
        pa.int16(),
        pa.int64(),
        pa.float64(),
    ]
    assert typed.to_pylist() == [
        {"n": 2, "place": "a", "id": 7, "x": 1.0},
        {"n": None, "place": "b", "id": 8, "x": 2.0},
    ]
    assert verdicts.tolist() == [0, 0]


def test_dictionary_encoded_and_plain_text_are_judged_alike():
    column = {"type": "string", "allowed": ["a"]}
    texts = pa.array(["a", "b", None, "a"])
    assert of_x(texts, column) == of_x(texts.dictionary_encode(), column)
    assert of_x(texts, column) == ["", "not_allowed: x", "missing_value: x", ""]


def test_a_column_of_another_kind_of_type_stops_the_run_and_is_named():
    with pytest.raises(ContractError) as error:
        of_x(["1", "2"], {"type": "float64"})
    assert str(error.value) == (
        "somewhere: the column 'x' is stored as text, which is not float64, as inputs.x.type in "
        "the job file says. Correct the type in the job file, or the column in the source"
    )


# --- dates -------------------------------------------------------------------------------------

DATED = {"source": {"date_column": "day"}, "timezone": "America/New_York"}


def outside(days: pa.Array, key: str = "2013-02", **changes: Any) -> list[bool]:
    count = len(days)
    table = pa.table({"id": range(count), "x": [1.0] * count, "day": days})
    found = broken(contract(key, **DATED | changes), table)
    assert set(found) <= {"", "outside_partition: day"}
    return [reason != "" for reason in found]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_with_a_zone_are_compared_as_moments(unit: str):
    moments = [
        "2013-02-01T04:59:59",
        "2013-02-01T05:00:00",
        "2013-03-01T04:59:59",
        "2013-03-01T05:00",
    ]
    aware = [datetime.fromisoformat(m).replace(tzinfo=UTC) for m in moments]
    assert outside(pa.array(aware, pa.timestamp(unit, "UTC"))) == [True, False, False, True]
    assert outside(pa.array(aware, pa.timestamp(unit, "Asia/Tokyo"))) == [True, False, False, True]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_without_a_zone_are_in_the_jobs(unit: str):
    moments = ["2013-01-31T23:59:59", "2013-02-01T00:00:00", "2013-02-28T23:59:59", "2013-03-01"]
    naive = [datetime.fromisoformat(m) for m in moments]
    assert outside(pa.array(naive, pa.timestamp(unit))) == [True, False, False, True]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates_are_days_in_the_jobs_zone(kind: pa.DataType):
    days = [date(2013, 1, 31), date(2013, 2, 1), date(2013, 2, 28), date(2013, 3, 1), None]
    assert outside(pa.array(days, kind)) == [True, False, False, True, True]


def test_the_day_on_which_dst_skips_midnight_has_all_its_dates():
    days = pa.array([date(2018, 11, 3), date(2018, 11, 4), date(2018, 11, 5)])
    found = outside(
        days, "2018-11-04", partition="day", schedule="0 3 * * *", start="2018-11-01",
        timezone="America/Sao_Paulo",
        model={"versions": [{"version": "a", "uri": "a.skops", "in_force_from": "2018-11-01"}]},
    )  # fmt: skip
    assert found == [True, False, True]


@pytest.mark.parametrize(
    ("key", "inside"),
    [("2013-11-03T01-0400", True), ("2013-11-03T01-0500", True), ("2013-11-03T02-0500", False)],
)
def test_a_clock_time_that_comes_twice_is_in_both_of_its_hours(key: str, inside: bool):
    naive = pa.array([datetime.fromisoformat("2013-11-03T01:30")], pa.timestamp("us"))
    found = outside(
        naive, key, partition="hour", schedule="15 * * * *", start="2013-11-03T00-0400",
        model={"versions": [{"version": "a", "uri": "a.skops", "in_force_from": "2013-11-03T00-0400"}]},
    )  # fmt: skip
    assert found == [not inside]


def test_a_date_column_that_is_none_stops_the_run():
    with pytest.raises(ContractError, match="the date column 'day' is stored as int64, not as a"):
        outside(pa.array([20130201]))


def test_the_date_column_of_a_csv_is_parsed():
    of_job = contract(text_only=True, **DATED)
    days = ["2013-02-01", "2013-02-28 23:59", "2013-03-01", "soon", None]
    table = pa.table({"id": list("abcde"), "x": ["1"] * 5, "day": days})
    assert broken(of_job, table) == [
        "", "", "outside_partition: day", "wrong_type: day", "outside_partition: day",
    ]  # fmt: skip


def test_clock_times_and_offsets_are_judged_text_by_text():
    of_job = contract(text_only=True, output={"keep": ["day"]}, **DATED)
    days = [
        "2013-02-01 00:30",
        "2013-02-28T23:00:00-05:00",
        "2013-03-01T04:30Z",
        "2013-03-01 00:30",
    ]
    table = pa.table({"id": list("abcd"), "x": ["1"] * 4, "day": days})
    typed, verdicts = of_job.check(table, "somewhere")
    assert verdicts.astype(bool).tolist() == [False, False, False, True]
    assert typed.column("day").to_pylist()[:2] == [
        datetime(2013, 2, 1, 5, 30, tzinfo=UTC), datetime(2013, 3, 1, 4, tzinfo=UTC)
    ]  # fmt: skip


def test_an_input_with_clock_times_here_and_offsets_there_stops_the_run():
    of_job = contract(text_only=True, inputs={"x": {"type": "timestamp", "nullable": True}})
    of_job.check(pa.table({"id": ["a", "b"], "x": ["2013-02-01", None]}), "somewhere")
    of_job.check(pa.table({"id": ["c"], "x": pa.nulls(1, pa.string())}), "somewhere")
    with pytest.raises(
        ContractError, match=r"inputs\.x\.timezone in the job file, such as UTC, settles"
    ):
        of_job.check(pa.table({"id": ["d"], "x": ["2013-02-01T00:00Z"]}), "somewhere")


def test_a_date_column_that_is_an_input_too_obeys_both():
    inputs = {"x": {"type": "float64"}, "day": {"type": "date"}}
    of_job = contract(inputs=inputs, **DATED)
    days = pa.array([date(2013, 2, 1), date(2013, 3, 1), None])
    table = pa.table({"id": [1, 2, 3], "x": [1.0] * 3, "day": days})
    assert broken(of_job, table) == ["", "outside_partition: day", "outside_partition: day"]


def test_partitions_of_the_contract_are_in_the_zone_of_the_job():
    assert contract("2013-02", **DATED).partition == parse_key(
        "2013-02", "month", ZoneInfo("America/New_York")
    )


# --- accounts ----------------------------------------------------------------------------------


def quarantined(*rows: tuple[int, str, str | None, str | None]) -> pa.Table:
    names = ("id", "row", "reason", "column", "value", "partition")
    records = [(f"id{row}", row, *rest, "2013-02") for row, *rest in rows]
    kinds = [pa.string(), pa.int64(), pa.string(), pa.string(), pa.string(), pa.string()]
    columns = zip(*records, strict=True)
    return pa.table([pa.array(c, k) for c, k in zip(columns, kinds, strict=True)], names=names)


def test_accounts_count_by_rule_and_keep_three_examples():
    accounts = Tally(rows_in=10)
    accounts.add(quarantined((1, "below_min", "x", "-1"), (2, "duplicate_row_id", None, None)))
    accounts.add(quarantined(*[(row, "below_min", "x", str(-row)) for row in range(3, 9)]))
    assert accounts.quarantined == {"below_min: x": 7, "duplicate_row_id": 1}
    assert accounts.rows_quarantined == 8
    assert accounts.summary() == (
        "  below_min: x: 7 rows, for example row 1 (id=id1, x=-1); row 3 (id=id3, x=-3); "
        "row 4 (id=id4, x=-4)\n"
        "  duplicate_row_id: 1 row, for example row 2 (id=id2)"
    )


@pytest.mark.parametrize(
    ("rows_in", "bad", "fraction", "min_rows", "tolerated"),
    [
        (10, 1, 0.1, 1, True),
        (10, 2, 0.1, 1, False),
        (10, 0, 0.0, 10, True),
        (9, 0, 0.0, 10, False),
        (0, 0, 0.0, 0, True),
        (0, 0, 0.0, 1, False),
        (3, 3, 1.0, 1, True),
    ],
)
def test_a_partition_is_refused_beyond_what_the_job_tolerates(
    rows_in: int, bad: int, fraction: float, min_rows: int, tolerated: bool
):
    of_job = job(checks={"max_quarantined_fraction": fraction, "min_rows": min_rows})
    accounts = Tally(rows_in, {"below_min: x": bad} if bad else {})
    if tolerated:
        check_gates(accounts, of_job, of_job.first_partition)
    else:
        with pytest.raises(ContractError, match=r"break the contract|rows came in"):
            check_gates(accounts, of_job, of_job.first_partition)


def test_the_refusal_says_how_many_rows_broke_which_rule_with_examples():
    of_job = job(checks={"max_quarantined_fraction": 0.05})
    accounts = Tally(rows_in=1200)
    accounts.add(quarantined(*[(row, "below_min", "x", "-1") for row in range(1, 100)]))
    with pytest.raises(ContractError) as error:
        check_gates(accounts, of_job, of_job.first_partition)
    assert str(error.value).startswith(
        "sample 2013-02: 99 of 1,200 rows (8.25%) break the contract, more than "
        "checks.max_quarantined_fraction, 5.00%:\n"
        "  below_min: x: 99 rows, for example row 1 (id=id1, x=-1); "
    )
    assert "\n    fix the source, or correct inputs.x.min\n" in str(error.value)


@pytest.mark.parametrize(
    ("rule", "says", "not_says"),
    [
        (Rule("duplicate_row_id"), "name a further column in row_id", "nullable"),
        (Rule("null_prediction", "prediction"), "the model or scorer returns null", "nullable"),
        (Rule("missing_value", "x"), "inputs.x.nullable: true", "row_id"),
        (Rule("wrong_type", "x"), "inputs.x.type", "nullable"),
        (Rule("wrong_type", "id"), "fix the values of id in the source", "inputs"),
        (Rule("not_allowed", "x"), "inputs.x.allowed", "nullable"),
    ],
    ids=str,
)
def test_the_advice_fits_the_reason(rule: Rule, says: str, not_says: str):
    accounts, strict = Tally(10, {str(rule): 1}), job(checks={"max_quarantined_fraction": 0})
    with pytest.raises(ContractError) as error:
        check_gates(accounts, strict, strict.first_partition)
    message = str(error.value)
    assert says in message
    assert not_says not in message
    assert message.index(says) < message.index("max_quarantined_fraction to what is normal")


def test_every_reason_has_its_advice():
    reasons = set(re.findall(r"``(\w+)``", Contract.__doc__ or "")) - {"check"}
    assert {r for r in reasons if advice_for(Rule(r, "x"), job())} == reasons


def test_too_few_rows_are_reported():
    of_job = job(checks={"min_rows": 1000})
    with pytest.raises(
        ContractError, match=r"sample 2013-02: 7 rows came in, fewer than checks.min_rows, 1,000"
    ):
        check_gates(Tally(rows_in=7), of_job, of_job.first_partition)


def test_a_rule_is_shown_with_its_column():
    assert str(Rule("below_min", "x")) == "below_min: x"
    assert str(Rule("duplicate_row_id")) == "duplicate_row_id"


def test_moments_that_are_all_null_have_no_type_and_lie_in_no_partition():
    of_job = contract(source={"uri": "a", "date_column": "day"})
    table = pa.table({"id": [1, 2], "x": [1.0, 2.0], "day": pa.nulls(2)})
    assert broken(of_job, table) == ["outside_partition: day"] * 2
    assert broken(of_job, table.slice(0, 0)) == []


def test_a_value_that_is_quoted_stays_on_its_line_and_is_cut():
    accounts = Tally(rows_in=10)
    forged = "1\n[2013-03-01] INFO - all is well\x1b[2J\u202e"
    accounts.add(
        quarantined((1, "wrong_type", "x", forged), (2, "wrong_type", "x", "é" * 1_000_000))
    )
    assert accounts.summary() == (
        "  wrong_type: x: 2 rows, for example "
        "row 1 (id=id1, x=1\\n[2013-03-01] INFO - all is well\\x1b[2J\\u202e); "
        f"row 2 (id=id2, x={'é' * 80}… (1,000,000 characters))"
    )


def test_a_job_may_keep_the_values_of_its_rows_out_of_messages():
    accounts = Tally(rows_in=10, examples_per_rule=0)
    accounts.add(quarantined((1, "below_min", "x", "-1"), (2, "below_min", "x", "-2")))
    assert accounts.summary() == "  below_min: x: 2 rows"
    assert accounts.examples == {"below_min: x": []}
