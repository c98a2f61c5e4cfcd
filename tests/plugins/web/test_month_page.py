"""The page of one partition: every figure on it is the manifest's, and it says what to do."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from scoring_airflow.web import clock
from scoring_airflow.web.formats import figure, percent

from scoring.destinations.manifest import Manifest
from scoring.errors import HeldError
from scoring.job.loader import load_job
from scoring.monitoring.distribution import of_manifest
from scoring.monitoring.histogram import histogram
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.evaluate import evaluate, evaluate_challengers
from scoring.pipeline.hold import read_held
from scoring.pipeline.publish import publish_held
from scoring.storage.connections import Connections
from tests.plugins.web.conftest import Store, Stored

HOSTILE = "\"><script>alert(1)</script>'&{{7*7}}\u202egpj.exe"


class Text(HTMLParser):
    """The text of a page, with a bar between the cells of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data.replace("\n", " "))

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr":
            self.parts.append("\n")

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.parts.append({"td": "|", "th": "|", "tr": "\n", "dd": "|"}.get(tag, ""))


def words(html: str) -> str:
    parser = Text()
    parser.feed(html)
    lines = "".join(parser.parts).replace("\u202f", " ").split("\n")
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


def page(client: TestClient, of: Stored, key: str, **query: str) -> str:
    answer = client.get(f"/scoring/jobs/{of.name}/{key}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


def section(text: str, name: str) -> str:
    """The words of one section, by the id of its heading."""
    (found,) = re.findall(
        rf'<section class="block" aria-labelledby="{name}">(.*?)</section>', text, re.S
    )
    return words(found)


def verdict(text: str) -> str:
    (found,) = re.findall(r'<section class="verdict.*?</section>', text, re.S)
    return " ".join(words(found).split())


def tables(text: str) -> set[tuple[str, ...]]:
    """The rows of all tables, as their cells."""
    rows = [line for line in words(text).split("\n") if line.startswith("|")]
    return {tuple(cell.strip() for cell in row.split("|")[1:]) for row in rows}


def context(of: Stored, key: str) -> PartitionContext:
    file = load_job(of.path)
    return PartitionContext(file, file.job.parse(key), file.roots(), f"of-{key}", Connections())


def manifest(of: Stored, key: str) -> Manifest:
    found = context(of, key).publisher.published(context(of, key).partition)
    assert found is not None
    return found


def test_every_figure_is_that_of_the_manifest(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    text, m = page(viewer, job, "2013-03"), manifest(job, "2013-03")
    said = words(text)
    assert "The month from 2013-03-01 00:00 UTC to 2013-04-01 00:00 UTC" in said
    assert verdict(text) == "✓Published, and up to date"
    rows = tables(text)
    assert ("in", "1,200", "") in rows
    assert ("scored", "1,176", "98 %") in rows
    assert ("quarantined", "24", "2 %") in rows
    assert ("missing_value: delay", "24", "2 %") in rows
    assert ("min_rows", "1,200", "at least 1", "✓ yes") in rows
    assert ("max_quarantined_fraction", "2 %", "at most 10 %", "✓ yes") in rows
    for value in (
        m.model.sha256,
        m.model.uri,
        m.output.uri,
        m.output.sha256,
        m.source.uri,
        m.source.files[0].sha256 or "?",
        m.code_version,
    ):
        assert value in text
    assert "by the policy as_of: in force from 2013-02" in said
    for package, release in (m.packages | m.model.runtime_versions).items():
        assert f"{package} {release}" in said
    for step, seconds in m.durations_seconds.items():
        assert f"{step} {seconds:.1f} s" in said
    for name, kind in m.columns.items():
        assert (name, kind) in rows
    of = m.statistics["predicted_delay"]
    assert (
        "predicted_delay",
        *(figure(of[name]) for name in ("mean", "std", "min")),
        *(figure(of["quantiles"][q]) for q in ("0.05", "0.5", "0.95")),
        figure(of["max"]),
    ) in rows


def test_the_histograms_have_the_counts_of_both_months(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    text = page(viewer, job, "2013-03")
    own, before = of_manifest(manifest(job, "2013-03")), of_manifest(manifest(job, "2013-02"))
    rows = tables(text)
    for mine, other in (
        (own.outputs["predicted_delay"], before.outputs["predicted_delay"]),
        (own.inputs["delay"], before.inputs["delay"]),
    ):
        expected = histogram(mine, other)
        assert expected is not None
        assert len(expected.bins) > 5
        for one in expected.bins:
            shares = [
                percent(share).replace("\u202f", " ")
                for share in (expected.share(one), expected.reference_share(one))
            ]
            cells = (f"{one.rows:,}", shares[0], f"{one.reference:,}", shares[1])
            assert (one.label, *cells) in rows
    assert text.count('class="chart ') == 3  # the way of the rows, the prediction, the input
    assert '<title id="published-1-t">predicted_delay against 2013-02</title>' in text
    assert text.count('<path class="reference"') == 2
    assert "the job has no checks.drift".lower() in words(text).lower()


def test_the_reference_can_be_chosen(viewer: TestClient, store: Store) -> None:
    job = store(start="2012-03", model={"policy": "current"})
    source = job.path.parent / "data/flights"
    (source / "2012-03.parquet").write_bytes((source / "2013-02.parquet").read_bytes())
    job.publish("2012-03", "2013-02", "2013-03")
    text = page(viewer, job, "2013-03")
    assert "Drift from 2012-03" in words(text)  # the year before is the main reference
    assert 'href="?against=2013-02#published-values"' in text
    other = page(viewer, job, "2013-03", against="2013-02")
    assert "Drift from 2013-02" in words(other)
    assert "predicted_delay against 2013-02" in other
    assert "Drift from 2012-03" in words(page(viewer, job, "2013-03", against=HOSTILE))


def test_a_model_of_many_inputs(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    for key in ("2013-02", "2013-03"):
        path = job.destination / f"_manifests/month={key}.json"
        facts = json.loads(path.read_text())
        facts["inputs"] |= {f"x{n:02}": facts["inputs"]["delay"] for n in range(30)}
        path.write_text(json.dumps(facts))
    text = page(viewer, job, "2013-03")
    assert text.count("<figure ") == 12
    assert "Show all 32 columns: 20 more" in " ".join(words(text).split())
    assert "?against=2013-02&amp;show=all#published-values" in text
    assert page(viewer, job, "2013-03", show="all").count("<figure ") == 32
    assert sum(row[0].startswith("x") for row in tables(text) if row[-1] == "2013-02") == 30


def test_drift_is_said_at_the_top_also_where_the_job_does_not_ask_for_it(
    viewer: TestClient, job: Stored
) -> None:
    job.publish("2013-02")
    _move(job, "2013-03")
    job.publish("2013-03")
    said = verdict(page(viewer, job, "2013-03"))
    assert "2 columns have moved from 2013-02: " in said
    for name in ("delay", "predicted_delay"):
        assert f"{name} (PSI " in said


def test_links_to_its_neighbours_its_run_and_its_manifest(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    first, middle, last = (page(viewer, job, key) for key in ("2013-02", "2013-03", "2013-04"))
    assert 'rel="prev"' not in first
    assert f'rel="prev" href="/scoring/jobs/{job.name}/2013-02"' in middle
    assert f'rel="next" href="/scoring/jobs/{job.name}/2013-04"' in middle
    assert 'rel="next"' not in last
    (address,) = re.findall(r'href="([^"]*)" download', middle)
    assert viewer.get(address).json()["partition"] == "2013-03"
    path = job.destination / "_manifests/month=2013-03.json"
    run_id = job.run("2013-03", "success")
    run = {"by": "airflow", "dag_id": job.name, "run_id": run_id, "try_number": "2"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run": run}))
    text = page(viewer, job, "2013-03")
    assert f'href="/dags/{job.name}/runs/{run_id}">Run in Airflow' in text
    assert f"{run_id}, try 2" in section(text, "made")
    assert f"{run_id} is published" in section(text, "runs")


def test_why_it_is_stale_and_what_scores_it_again(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    for old in ("in_force_from: 2013-04", "in_force_from: '2013-04'"):
        job.path.write_text(job.path.read_text().replace(old, "in_force_from: '2013-03'"))
    source = job.path.parent / "data/flights/2013-03.parquet"
    source.write_bytes(source.read_bytes() + b" ")
    text = page(viewer, job, "2013-03")
    said = verdict(text)
    assert said.startswith("!Stale: scoring again may give other predictions")
    assert "v2 is in force, v1 scored it" in said
    assert f"airflow scoring backfill {job.name} 2013-03" in said
    assert "changed" in section(text, "files")
    assert f"{source} has {source.stat().st_size:,} bytes" in section(text, "files")
    assert "by the policy as_of, that is v2" in section(text, "model")


def test_what_is_missing_failed_running_or_not_due(
    pages: FastAPI, viewer: TestClient, job: Stored
) -> None:
    text = page(viewer, job, "2013-03")
    assert verdict(text).startswith("!Nothing is published Airflow has no run of this month.")
    assert f"airflow scoring backfill {job.name} 2013-03" in verdict(text)
    assert 'id="rows"' not in text
    run_id = job.run("2013-03", "running")
    assert (
        verdict(page(viewer, job, "2013-03"))
        == f"Nothing is published yet: a run is running {run_id}"
    )
    failed = job.run("2013-02", "failed")
    said = verdict(page(viewer, job, "2013-02"))
    assert said.startswith(f"!Nothing is published: the last run has failed {failed} has failed")
    pages.dependency_overrides[clock.now] = lambda: datetime(2013, 4, 20, tzinfo=UTC)
    said = verdict(page(viewer, job, "2013-04"))
    assert said.startswith("Nothing is published yet: its run is due at 2013-05-02 03:00 UTC")
    answer = viewer.get(f"/scoring/jobs/{job.name}/2013-05")
    assert answer.status_code == 404
    assert "its partitions are from 2013-02 to 2013-04" in answer.text


def test_the_runs_of_the_partition_with_what_they_asked_for(
    viewer: TestClient, job: Stored
) -> None:
    job.run("2013-02", "success")
    run_id = job.run("2013-03", "success", triggering_user_name="ann <b>")
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        run = session.query(DagRun).filter(DagRun.run_id == run_id).one()
        run.conf = {"partition": "2013-03", "model_version": "v2", "accept_drift": HOSTILE}
    found = section(page(viewer, job, "2013-03"), "runs")
    assert found.count("manual__") == 1
    assert "model version v2 to accept: " in found
    assert "by ann <b>" in found


def test_quarantined_rows_are_shown_with_their_ids_and_values(
    viewer: TestClient, job: Stored
) -> None:
    job.publish("2013-02")
    rows = tables(page(viewer, job, "2013-02"))
    shown = {row for row in rows if len(row) == 4 and row[2:] == ("delay", "null")}
    assert shown == {(str(n), str(n), "delay", "null") for n in (50, 100, 150)}
    assert "Fix the source" in section(page(viewer, job, "2013-02"), "rows")


def test_a_job_that_shows_no_rows(viewer: TestClient, store: Store) -> None:
    job = store(checks={"examples": 0})
    job.publish("2013-02")
    text = page(viewer, job, "2013-02")
    assert ("50", "50", "delay", "null") not in tables(text)
    assert "The job shows no rows (checks.examples: 0)" in words(text)
    assert ("missing_value: delay", "50", "2 %") in tables(text)


def test_hostile_values_of_rows_reasons_and_runs_are_text(viewer: TestClient, store: Store) -> None:
    job = store()
    job.publish("2013-02")
    path = job.destination / "_manifests/month=2013-02.json"
    facts = json.loads(path.read_text())
    uri = Path(facts["quarantine"]["uri"])
    pq.write_table(
        pa.table(
            {
                HOSTILE: pa.array([HOSTILE, "b" * 500]),
                "row": pa.array([1, 2], pa.int64()),
                "reason": pa.array([HOSTILE] * 2),
                "column": pa.array([HOSTILE] * 2),
                "value": pa.array([HOSTILE, "c" * 500]),
                "partition": pa.array(["2013-02"] * 2),
            }
        ),
        uri,
    )
    rule = f"{HOSTILE}: {HOSTILE}"
    facts["rows"]["reasons"] = {rule: 2}
    facts["rows"]["left_out_reasons"] = {HOSTILE: 1}
    facts["inputs"] = {HOSTILE: {"rows": 2, "bits": 12, "categories": {HOSTILE: 2}}}
    facts["warnings"] = [HOSTILE]
    facts["run"] = {
        "by": "airflow",
        "dag_id": job.name,
        "run_id": HOSTILE,
        "accepted_drift": HOSTILE,
    }
    facts["gates"] = [{"gate": HOSTILE, "figure": 1, "limit": 2, "passed": False}]
    facts["model"] |= {"runtime_versions": {HOSTILE: HOSTILE}, "uri": "javascript:alert(1)"}
    path.write_text(json.dumps(facts))
    text = page(viewer, job, "2013-02")
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert 'href="javascript:' not in text
    assert ">49" not in text
    assert "&lt;script&gt;alert(1)" in section_source(text, "rows")
    assert "b" * 80 + "… (500 characters)" in text
    assert "b" * 81 not in text
    assert "c" * 81 not in text


def section_source(text: str, name: str) -> str:
    (found,) = re.findall(rf'aria-labelledby="{name}">(.*?)</section>', text, re.S)
    return str(found)


def test_what_cannot_be_read_says_so_and_the_rest_is_shown(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    facts = manifest(job, "2013-02")
    assert facts.quarantine is not None
    Path(facts.quarantine.uri).unlink()
    (job.destination / "_evaluations").mkdir()
    (job.destination / "_evaluations/month=2013-02.json").write_text("{")
    text = page(viewer, job, "2013-02")
    assert "the quarantine of " in section(text, "rows")
    assert "FileNotFoundError" in section(text, "rows")
    assert "is not an evaluation" in section(text, "actuals")
    assert ("scored", "2,450", "98 %") in tables(text)


@pytest.mark.parametrize("place", ["{elsewhere}", "{destination}/_quarantine/../../{name}"])
def test_a_manifest_cannot_have_another_file_shown(
    viewer: TestClient, job: Stored, place: str
) -> None:
    job.publish("2013-02")
    elsewhere = job.destination.parent / "elsewhere.parquet"
    path = job.destination / "_manifests/month=2013-02.json"
    facts = json.loads(path.read_text())
    elsewhere.write_bytes(Path(facts["quarantine"]["uri"]).read_bytes())
    facts["quarantine"]["uri"] = place.format(
        elsewhere=elsewhere, destination=job.destination, name=elsewhere.name
    )
    path.write_text(json.dumps(facts))
    text = page(viewer, job, "2013-02")
    assert "does not lie under" in section(text, "rows")
    assert ("50", "50", "delay", "null") not in tables(text)


def test_what_another_job_has_published_is_not_shown(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    path = job.destination / "_manifests/month=2013-02.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"job": "secret_job"}))
    text = page(viewer, job, "2013-02")
    assert verdict(text).startswith("!Nothing is published")
    assert ("scored", "2,450", "98 %") not in tables(text)
    address = f"/scoring/api/v1/jobs/{job.name}/partitions/2013-02"
    assert viewer.get(address).status_code == 404


# ---- Compared

CANDIDATES = {
    "versions": [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
        {"version": "v2", "uri": "{models}/v2.skops", "candidate": True},
        {"version": "gone", "uri": "{models}/<b>gone.skops", "candidate": True},
    ]
}


def test_challengers_stand_beside_what_is_published(viewer: TestClient, store: Store) -> None:
    job = store(model=CANDIDATES, challengers=["v2", "gone"])
    job.publish("2013-03")
    text = page(viewer, job, "2013-03")
    rows = {row[0]: row[1:] for row in tables(text) if row[0].startswith("challenger")}
    # v1 predicts twice the delay and v2 three times; a delay of 0 is the same in both.
    delays = [i % 60 for i in range(1, 1201) if i % 50]
    changed = sum(delay != 0 for delay in delays) / len(delays)
    mean = sum(delays) / len(delays)
    assert rows["challenger v2"] == (
        "1,176",
        percent(changed).replace("\u202f", " "),
        figure(mean),
        "59",
        "0",
        "0",
    )
    assert "<b>gone" in rows["challenger gone"][0]
    assert "<b>gone" not in text
    assert 'id="compared"' not in page(viewer, job, "2013-02")


def test_the_error_of_a_challenger_stands_beside_it(viewer: TestClient, store: Store) -> None:
    truth = pa.table({"flight": range(1, 1201), "truth": [3.0 * (i % 60) for i in range(1, 1201)]})
    actuals = {"source": {"uri": "{data}/flights/truth-{partition}.parquet"}, "column": "truth"}
    job = store(model=CANDIDATES, challengers=["v2"], actuals=actuals)
    pq.write_table(truth, job.path.parent / "data/flights/truth-2013-03.parquet")
    job.publish("2013-03")
    assert "against the actuals" not in page(viewer, job, "2013-03")
    (found,) = evaluate_challengers(context(job, "2013-03"))
    assert found.figures["rmse"] == pytest.approx(0.0, abs=1e-9)
    assert "Challenger v2 against the actuals: RMSE 0" in section(
        page(viewer, job, "2013-03"), "compared"
    )


def test_a_month_that_changes_too_much_is_held_and_then_says_how_it_differs(
    viewer: TestClient, store: Store
) -> None:
    job = store(checks={"max_changed_fraction": 0.1}, model=CANDIDATES)
    job.publish("2013-03")
    text = job.path.read_text()
    job.path.write_text(text.replace("{models}/v1.skops", "{models}/v2.skops"))
    with pytest.raises(HeldError):
        job.publish("2013-03")
    said = verdict(page(viewer, job, "2013-03"))
    assert "Held: scored by v1, and waits for a decision" in said
    assert "It differs from what is published:" in said
    assert "checks.max_changed_fraction is 0.1" in said
    assert "checks.drift.hold" not in said
    publish_held(context(job, "2013-03"), "a better model", "ann")
    found = page(viewer, job, "2013-03")
    (row,) = (row for row in tables(found) if row[0] == "what was published before")
    assert (row[1], row[4], row[5], row[6]) == ("1,176", "59", "0", "0")
    assert "a better model (ann)" in section(found, "made")


# ---- Held


@pytest.fixture
def held(store: Store) -> Stored:
    """A job whose March has moved too far from its February to be published."""
    job = store(checks={"drift": {"hold": {"PSI": 0.25}}})
    job.publish("2013-02")
    _move(job, "2013-03")
    with pytest.raises(HeldError):
        job.publish("2013-03")
    return job


def test_a_held_partition_says_why_and_what_accepts_it(viewer: TestClient, held: Stored) -> None:
    text, found = page(viewer, held, "2013-03"), read_held(context(held, "2013-03"))
    assert found is not None
    said = verdict(text)
    assert said.startswith(
        "!Held: scored by v1, and waits for a decision Nothing is published yet."
    )
    for reason in found.reasons:
        assert reason in said
    assert f'scoring publish {held.name} 2013-03 --accept "why"' in said
    rows = tables(text)
    assert ("scored", "1,176", "98 %") in rows
    assert ("missing_value: delay", "24", "2 %") in rows
    (delay,) = (one for one in found.drift if one.column == "delay")
    (row,) = (r for r in rows if r[0] == "delay input")
    assert row[1:4] == ("warn", f"{delay.psi:.3f}", f"{delay.psi_warns:.3f}")
    assert "delay against 2013-02" in text
    assert "row 50 (flight=50, delay=None)" in section(text, "held")
    assert 'id="published-values"' not in text


def test_what_is_held_stays_shown_when_its_rows_are_gone(viewer: TestClient, held: Stored) -> None:
    held.path.write_text(held.path.read_text() + "# another file\n")
    text, found = page(viewer, held, "2013-03"), read_held(context(held, "2013-03"))
    assert found is not None
    assert found.reasons[0] in verdict(text)
    assert "has changed since 2013-03 was extracted" in section(text, "held")
    assert any(row[0] == "delay input" for row in tables(text))


def test_drift_that_was_recorded_and_accepted(viewer: TestClient, held: Stored) -> None:
    m = publish_held(context(held, "2013-03"), "school holidays", "ann")
    text = page(viewer, held, "2013-03")
    assert "As it was found when the rows were scored." in section(text, "published-values")
    assert "school holidays (ann)" in section(text, "made")
    rows = tables(text)
    for one in m.drift:
        (row,) = {r for r in rows if r[0] == f"{one['column']} {one['role']}"}
        assert row[2:7] == tuple(
            f"{one[name]:.3f}"
            for name in ("psi", "psi_warns", "ks", "wasserstein", "jensen_shannon")
        )
    for warning in m.warnings:
        assert warning in verdict(text)


def _move(job: Stored, key: str) -> None:
    """Have the flights of a month come later by hours."""
    source = job.path.parent / f"data/flights/{key}.parquet"
    table = pq.ParquetFile(source).read()
    delay = pa.array([None if v is None else v + 500.0 for v in table["delay"].to_pylist()])
    pq.write_table(table.set_column(1, "delay", delay), source)


# ---- Actuals


def test_an_evaluation_and_whether_it_is_of_what_is_published(
    viewer: TestClient, store: Store
) -> None:
    actuals = {"source": {"uri": "{data}/landed/{partition}.parquet"}, "column": "late"}
    job = store(actuals=actuals)
    job.publish("2013-02")
    text = page(viewer, job, "2013-02")
    assert f"scoring evaluate {job.name} 2013-02" in section(text, "actuals")
    landed = job.path.parent / "data/landed"
    landed.mkdir()
    truth = {"flight": list(range(1, 1_001)), "late": [float(n % 60) for n in range(1, 1_001)]}
    pq.write_table(pa.table(truth), landed / "2013-02.parquet")
    found = evaluate(context(job, "2013-02"))
    assert found.regression is not None
    rows = tables(page(viewer, job, "2013-02"))
    for name, value in found.figures.items():
        assert (name, figure(value)) in rows
    assert ("with an actual", f"{found.rows.with_actual} of 2,450") in rows
    assert ("actuals without a prediction", "20") in rows
    path = job.destination / "_evaluations/month=2013-02.json"
    path.write_text(found.model_copy(update={"predictions_sha256": "0" * 64}).model_dump_json())
    assert "evaluation of an earlier publication" in section(
        page(viewer, job, "2013-02"), "actuals"
    )


def test_calibration_is_a_picture_with_its_numbers(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    m = manifest(job, "2013-02")
    bins = [
        {"at_least": 0.0, "below": 0.1, "rows": 700, "predicted": 0.05, "actual": 0.04},
        {"at_least": 0.9, "below": 1.0, "rows": 300, "predicted": 0.95, "actual": 0.7},
    ]
    of_class = {
        "column": "p_yes",
        "label": "yes",
        "rows": 238,
        "auc": 0.8,
        "log_loss": 0.4,
        "brier": 0.1,
    }
    evaluation = {
        "job": job.name,
        "partition": "2013-02",
        "model_version": "v1",
        "predictions_sha256": m.output.sha256,
        "actuals": {"uri": "landed", "rows": 1000, "bytes": 1, "sha256": "0", "files": []},
        "rows": {
            "published": 1000,
            "with_actual": 1000,
            "without_actual": 0,
            "ambiguous": 0,
            "without_prediction": 0,
        },
        "classification": {"accuracy": 0.9, "classes": [of_class | {"calibration": bins}]},
    }
    folder = job.destination / "_evaluations"
    folder.mkdir()
    (folder / "month=2013-02.json").write_text(json.dumps(evaluation))
    text = page(viewer, job, "2013-02")
    assert (
        "Farthest from the diagonal: rows predicted with 95 % on average, of which 70 %"
        in words(text)
    )
    assert ("0.9 to 1.0", "300", "95 %", "70 %") in tables(text)
    assert ("auc p_yes", "0.8") in tables(text)
    assert section_source(text, "actuals").count("<circle") == 2


# ---- The tab of a run


def test_a_run_shows_the_page_of_its_partition(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    by_conf = job.run("2013-02", "success")
    start = datetime(2013, 3, 2, 3, tzinfo=UTC)
    by_dates = job.run(None, "success", logical_date=start, data_interval=(start, start))
    for run_id, key in ((by_conf, "2013-02"), (by_dates, "2013-03")):
        text = viewer.get(f"/scoring/runs/{job.name}/{run_id}").text
        assert re.search(rf"<h1><bdi>{job.name}</bdi> {key} ", text)
        assert "not by this run" in words(text)
        assert '<tr aria-current="true">' in text
    nothing = viewer.get(f"/scoring/runs/{job.name}/no_such_run")
    assert nothing.status_code == 404
    assert "has no run no_such_run that scores a partition" in nothing.text
    elsewhere = viewer.get("/scoring/runs/another_dag/manual__1")
    assert elsewhere.status_code == 404
    assert (
        "another_dag is not a Dag that scores partitions, or not one that you may read."
        in elsewhere.text
    )
