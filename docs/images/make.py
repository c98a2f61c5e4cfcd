"""Makes the pictures of this folder from a running `make run`.

    python docs/images/make.py [--home .run] [--chromium /usr/bin/chromium]

It needs the Python package `playwright` and a Chromium of the system (Debian: `apt-get install
chromium`); neither is installed by `make setup`, and no test needs this script. It logs in as the
user of `make run`, through the form.
"""

import argparse
import json
import re
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).resolve().parent
USER = "admin"
SIZE = {"width": 1440, "height": 680}
GRID_WIDTH = 520  # pixels from the left: room for ten months
SETTLE_MILLISECONDS = 3000  # the graph is laid out and the grid filled after the page has loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--home", type=Path, default=Path(".run"), help="folder of `make run`")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="path of the browser")
    options = parser.parse_args()

    settings = (options.home / "airflow.env").read_text()
    found = re.search(r"^export AIRFLOW__API__BASE_URL=(\S+)$", settings, re.MULTILINE)
    assert found, "airflow.env names no address of the web UI"
    password = json.loads((options.home / "ui_passwords.json").read_text())[USER]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        log_in(page, found[1], password)
        show_dag(page, found[1], "flight_delay")
        page.screenshot(path=FOLDER / "dag.png")
        browser.close()


def log_in(page: Page, url: str, password: str) -> None:
    """Log in through the form of Airflow's SimpleAuthManager."""
    page.goto(f"{url}/auth/login")
    page.locator("input[name=username]").fill(USER)
    page.locator("input[name=password]").fill(password)
    page.locator("button[type=submit]").click()
    page.wait_for_url(re.compile(re.escape(url) + r"/?(\?.*)?$"))


def show_dag(page: Page, url: str, dag_id: str) -> None:
    """Take the picture: the Dag's runs as a grid, with the list of its runs beside it."""
    page.goto(f"{url}/dags/{dag_id}/runs")
    page.get_by_text("upload", exact=True).first.wait_for()
    divider = page.locator(
        "[data-resize-handle], [data-panel-resize-handle-id]"
    ).first.bounding_box()
    assert divider, "the divider between the grid and the facts is not found"
    page.mouse.move(divider["x"] + 1, SIZE["height"] - 40)
    page.mouse.down()
    page.mouse.move(GRID_WIDTH, SIZE["height"] - 40, steps=10)
    page.mouse.up()
    page.wait_for_timeout(SETTLE_MILLISECONDS)


if __name__ == "__main__":
    main()
