"""The pages in Chromium, on a real Airflow: 14 months, one of them stale, one held, one failed.

Pictures go to ``.run/screenshots``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from scoring import training_profile
from tests import small_job
from tests.browser import chromium, sign_in
from tests.integration.airflow_under_test import AirflowUnderTest as Stack

JOB = "watched"
MONTHS = [f"{year}-{month:02d}" for year in (2012, 2013, 2014) for month in range(1, 13)][11:25]
HELD, FAILED, STALE = "2014-01", "2013-08", "2013-03"
ROWS = 400
SCREENSHOTS = Path(__file__).resolve().parents[2] / ".run/screenshots"

SECONDS = 1000.0  # Playwright counts milliseconds
PATIENCE = 30 * SECONDS


def month_of(key: str) -> pa.Table:
    """Flights of a month that is like the others; later in the year they are a little later."""
    rng = np.random.default_rng(int(key.replace("-", "")))
    delay = rng.normal(10 + int(key[-2:]) / 12, 15, ROWS) + (80 if key == HELD else 0)
    return pa.table({"flight": range(1, ROWS + 1), "delay": [None, *delay[1:]]})


def write_jobs(jobs: Path) -> None:
    """The job, its flights, what turned out to be true, and what its model was trained on."""
    data = jobs.parents[1] / "data"
    for key in MONTHS:
        table = month_of(key)
        for folder in ("watched", "watched_truth"):
            (data / folder).mkdir(exist_ok=True)
        if key == FAILED:
            pq.write_table(table.drop_columns("delay"), data / f"watched/{key}.parquet")
            continue
        pq.write_table(table, data / f"watched/{key}.parquet")
        truth = [None if d is None else 2 * d + 3 for d in table["delay"].to_pylist()]
        pq.write_table(
            pa.table({"flight": table["flight"], "arrived": truth}),
            data / f"watched_truth/{key}.parquet",
        )
    known = pd.concat([month_of(key).to_pandas().dropna() for key in ("2013-01", "2013-06")])
    profile = training_profile(
        known[["delay"]], pd.DataFrame({"predicted_delay": 2 * known["delay"]})
    )
    (data / "models/watched.profile.json").write_text(profile)
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": MONTHS[0]}
    small_job.write_job(
        jobs,
        name=JOB,
        start=MONTHS[0],
        end=MONTHS[-1],
        source={"uri": "{data}/watched/{partition}.parquet"},
        model={"versions": [version | {"profile": "{models}/watched.profile.json"}]},
        destination={"uri": f"{{data}}/predictions/{JOB}"},
        checks={"drift": {"hold": {"PSI": 0.25}}},
        actuals={
            "source": {"uri": "{data}/watched_truth/{partition}.parquet"},
            "column": "arrived",
        },
        run={"retries": 0},
    )


@dataclass(frozen=True)
class Watched:
    """The Airflow, when all runs of the job have ended and one source has changed since."""

    stack: Stack

    @property
    def url(self) -> str:
        return self.stack.api.url

    def manifest(self, key: str) -> dict[str, Any]:
        path = self.stack.home.data / f"predictions/{JOB}/_manifests/month={key}.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def evaluation(self, key: str) -> dict[str, Any]:
        path = self.stack.home.data / f"predictions/{JOB}/_evaluations/month={key}.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@pytest.fixture(scope="module")
def watched(stack: Stack) -> Watched:
    stack.unpause(JOB)
    states = {run.state for run in stack.ended(JOB, len(MONTHS))}
    assert states == {"success", "failed"}
    pq.write_table(month_of("2013-04"), stack.home.data / f"watched/{STALE}.parquet")
    stack.unpause(f"{JOB}.evaluate")
    evaluations = stack.home.data / f"predictions/{JOB}/_evaluations"
    stack.wait_for("evaluations", lambda: len(list(evaluations.glob("*.json"))) >= 12)
    return Watched(stack)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def signed_in(browser: Browser, watched: Watched, user: str, **settings: Any) -> Page:
    context = browser.new_context(
        **{"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"} | settings
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    passwords = json.loads(watched.stack.home.passwords.read_text())
    sign_in(page, watched.url, user, passwords[user])
    return page


@pytest.fixture(scope="module")
def admin(browser: Browser, watched: Watched) -> Page:
    return signed_in(browser, watched, "admin")


@pytest.fixture(scope="module")
def viewer(browser: Browser, watched: Watched) -> Page:
    return signed_in(browser, watched, "viewer")


def picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def cell(page: Page, key: str) -> Locator:
    return page.locator(f'[data-row="{JOB}"] a.cell[data-key="{key}"]')


def state_of(page: Page, key: str) -> str:
    classes = cell(page, key).get_attribute("class") or ""
    return next(name[3:] for name in classes.split() if name.startswith("is-"))


def check_accessibility(page: Page) -> None:
    """No fault that axe calls serious or critical."""
    found = Axe().run(page).response["violations"]
    serious = [f for f in found if f["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(
        [(f["id"], f["help"], [n["html"] for n in f["nodes"]][:3]) for f in serious], indent=1
    )


def test_the_navigation_leads_to_all_jobs(admin: Page, watched: Watched) -> None:
    admin.goto(watched.url)
    admin.get_by_role("link", name="Predictions").or_(
        admin.get_by_role("button", name="Predictions")
    ).first.click()
    inside = admin.frame_locator("iframe").first
    expect(inside.get_by_role("heading", level=1)).to_contain_text("attention", timeout=PATIENCE)
    picture(admin, "in-airflow")


def test_one_look_says_what_needs_attention(admin: Page, watched: Watched) -> None:
    admin.goto(f"{watched.url}/scoring/?name={JOB}")
    heading = admin.get_by_role("heading", level=1)
    for words in ("1 of 1 job", "1 failed", "1 held", "1 stale"):
        expect(heading).to_contain_text(words)
    assert cell(admin, "2013-05").get_attribute("aria-label") == (
        f"{JOB} 2013-05: published by v1, 399 rows, 1 quarantined"
    )
    states = {key: state_of(admin, key) for key in MONTHS}
    expected = dict.fromkeys(MONTHS, "published")
    assert states == expected | {HELD: "held", FAILED: "failed", STALE: "stale"}
    picture(admin, "coverage-light")
    check_accessibility(admin)


def test_the_pages_take_the_theme_of_airflow(admin: Page, watched: Watched) -> None:
    admin.goto(f"{watched.url}/scoring/?name={JOB}")

    def background() -> str:
        colour: str = admin.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    light = background()
    admin.evaluate("localStorage.setItem('theme', 'dark')")
    admin.reload()
    assert background() != light
    picture(admin, "coverage-dark")
    check_accessibility(admin)
    other = admin.context.new_page()  # the theme is switched in Airflow's own window
    other.goto(f"{watched.url}/scoring/?name={JOB}")
    other.evaluate("localStorage.setItem('theme', 'light')")
    admin.wait_for_function(
        f"getComputedStyle(document.body).backgroundColor === {json.dumps(light)}"
    )
    other.close()


def test_a_phone_shows_all_of_it(browser: Browser, watched: Watched) -> None:
    page = signed_in(browser, watched, "viewer", viewport={"width": 390, "height": 844})
    page.goto(f"{watched.url}/scoring/?name={JOB}")
    picture(page, "coverage-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    check_accessibility(page)
    page.context.close()


def test_the_command_of_the_selected_cells_is_copied(admin: Page, watched: Watched) -> None:
    admin.context.grant_permissions(["clipboard-read", "clipboard-write"])
    admin.goto(f"{watched.url}/scoring/?name={JOB}")
    for key in (STALE, FAILED):
        cell(admin, key).click(modifiers=["Control"])
    admin.get_by_role("button", name=re.compile("^Copy: airflow")).click()
    copied = admin.evaluate("navigator.clipboard.readText()")
    assert copied == f"airflow scoring backfill {JOB} {STALE} {FAILED}"
    admin.keyboard.press("Escape")
    cell(admin, HELD).click(modifiers=["Control"])
    expect(admin.locator("#commands")).to_contain_text(f"scoring publish {JOB} {HELD} --accept")


def test_keys_are_enough(admin: Page, watched: Watched) -> None:
    admin.goto(f"{watched.url}/scoring/?name={JOB}")
    cell(admin, MONTHS[-1]).focus()
    admin.keyboard.press("ArrowLeft")
    assert admin.evaluate("document.activeElement.dataset.key") == MONTHS[-2]
    admin.keyboard.press("Space")
    expect(admin.locator("#selected")).to_have_text("1 partition selected")


def test_a_viewer_sees_everything_and_may_start_nothing(viewer: Page, watched: Watched) -> None:
    viewer.goto(f"{watched.url}/scoring/?name={JOB}")
    cell(viewer, STALE).click(modifiers=["Control"])
    expect(viewer.locator("#commands")).to_contain_text("airflow scoring backfill")
    expect(viewer.get_by_role("button", name="Backfill", exact=True)).to_have_count(0)
    refused = viewer.evaluate(
        """async (job) => (await fetch("/api/v2/backfills", {method: "POST",
        headers: {"Content-Type": "application/json"}, body: JSON.stringify({dag_id: job,
        from_date: "2013-03-01T00:00:00Z", to_date: "2013-03-31T00:00:00Z"})})).status""",
        JOB,
    )
    assert refused == 403


def test_the_page_of_a_month_has_the_figures_of_its_manifest(admin: Page, watched: Watched) -> None:
    admin.goto(f"{watched.url}/scoring/?name={JOB}")
    cell(admin, "2013-05").click()
    expect(admin.get_by_role("heading", level=1)).to_contain_text(f"{JOB} 2013-05")
    manifest = watched.manifest("2013-05")
    text = admin.locator("main").inner_text()
    assert manifest["output"]["uri"] in text
    assert manifest["output"]["sha256"] in admin.content()
    for name, count in (("scored", 399), ("quarantined", 1)):
        row = admin.get_by_role("row").filter(
            has=admin.get_by_role("rowheader", name=name, exact=True)
        )
        expect(row.first).to_contain_text(f"{count:,}")
    assert manifest["rows"] | {"scored": 399, "quarantined": 1} == manifest["rows"]
    evaluated = watched.evaluation("2013-05")["regression"]
    assert f"{evaluated['rmse']:.4g}"[:4] in text
    picture(admin, "month-light")
    check_accessibility(admin)
    admin.evaluate("localStorage.setItem('theme', 'dark')")
    admin.reload()
    picture(admin, "month-dark")
    check_accessibility(admin)
    admin.evaluate("localStorage.setItem('theme', 'light')")


def test_the_page_of_a_held_month_says_why_and_what_releases_it(
    admin: Page, watched: Watched
) -> None:
    admin.goto(f"{watched.url}/scoring/jobs/{JOB}/{HELD}")
    text = admin.locator("main").inner_text()
    assert "PSI" in text
    assert f"scoring publish {JOB} {HELD} --accept" in text
    picture(admin, "held-light")
    check_accessibility(admin)


def test_a_run_has_its_partition_as_a_tab(admin: Page, watched: Watched) -> None:
    run_id = watched.manifest("2013-05")["run"]["run_id"]
    admin.goto(f"{watched.url}/dags/{JOB}/runs/{quote(run_id, safe='')}")
    admin.get_by_role("link", name="Partition", exact=True).or_(
        admin.get_by_role("tab", name="Partition", exact=True)
    ).first.click()
    inside = admin.frame_locator("iframe").first
    heading = inside.get_by_role("heading", level=1)
    expect(heading).to_contain_text(f"{JOB} 2013-05", timeout=PATIENCE)
    picture(admin, "tab-partition")


def test_a_backfill_from_the_page_changes_the_cell(admin: Page, watched: Watched) -> None:
    before = watched.manifest(STALE)["output"]["sha256"]
    admin.goto(f"{watched.url}/scoring/?name={JOB}")
    cell(admin, STALE).click(modifiers=["Control"])
    admin.get_by_role("button", name="Backfill", exact=True).click()
    admin.get_by_role("button", name="Create 1 run?").click()
    expect(admin.locator("#outcome")).to_contain_text("is created", timeout=PATIENCE)

    def is_published() -> bool:
        admin.reload()
        return state_of(admin, STALE) == "published"

    watched.stack.wait_for("published cell", is_published)
    assert watched.manifest(STALE)["output"]["sha256"] != before


def test_without_a_session_the_pages_lead_to_the_login(browser: Browser, watched: Watched) -> None:
    page = browser.new_page()
    page.goto(f"{watched.url}/scoring/")
    page.wait_for_url(re.compile("/auth/login"))
    page.close()


def test_the_tab_of_a_dag_shows_its_job_over_time(admin: Page, watched: Watched) -> None:
    for dag_id in (JOB, f"{JOB}.evaluate"):
        admin.goto(f"{watched.url}/dags/{dag_id}/plugin/predictions-of-dag")
        inside = admin.frame_locator("iframe").first
        expect(inside.get_by_role("heading", level=1)).to_contain_text(JOB, timeout=PATIENCE)
    picture(admin, "dag-tab")
    inside.get_by_role("link", name="Dag in Airflow").click()
    admin.wait_for_url(re.compile(rf"/dags/{JOB}/?$"))  # the window around the frame has gone there


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", [f"jobs/{JOB}", f"models/{JOB}", f"models/{JOB}/v1"])
def test_the_pages_of_a_job_and_its_versions(
    browser: Browser, watched: Watched, path: str, width: int
) -> None:
    viewport = {"width": width, "height": 900}
    page = signed_in(browser, watched, "viewer", viewport=viewport, color_scheme="dark")
    page.goto(f"{watched.url}/scoring/{path}")
    for details in page.locator("details").all():
        details.locator("summary").click()
    picture(page, f"{path.replace('/', '-')}-{width}")
    check_accessibility(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
