"""The trigger that looks for a late source, on its own: on real files, servers and event loops."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from airflow.sdk.module_loading import import_string
from scoring_airflow.triggers.source import SourceTrigger

from scoring.storage.https import client as https_client
from tests.https_server import Site

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def trigger(uri: str | Path, until: datetime = NOW + HOUR) -> SourceTrigger:
    return SourceTrigger(
        uri=str(uri),
        aws_conn_id=None,
        poke_interval_seconds=0.01,
        since=NOW - HOUR,
        until=until,
    )


async def events(of: SourceTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in of.run()]


def event(found: bool, until: datetime = NOW + HOUR) -> dict[str, Any]:
    return {
        "found": found,
        "since": (NOW - HOUR).isoformat(),
        "until": until.isoformat(),
    }


@pytest.mark.parametrize("pattern", ["month.csv", "*.csv", "**/mon??.csv"])
def test_it_fires_once_when_the_file_is_there(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "month.csv").touch()
    assert asyncio.run(events(trigger(tmp_path / pattern))) == [event(True)]


def test_when_its_time_is_over_it_says_that_nothing_came(tmp_path: Path) -> None:
    until = datetime.now(UTC) + timedelta(seconds=0.2)
    assert asyncio.run(events(trigger(tmp_path / "x", until))) == [event(False, until)]
    assert datetime.now(UTC) >= until


@pytest.mark.parametrize("found", [True, False])
def test_a_triggerer_that_was_away_when_the_time_was_over_looks_once_more(
    tmp_path: Path, found: bool
) -> None:
    if found:
        (tmp_path / "month.csv").touch()
    late = trigger(tmp_path / "month.csv", NOW - HOUR)
    assert asyncio.run(events(late)) == [event(found, NOW - HOUR)]


def test_what_airflow_stores_makes_the_same_trigger_again(airflow_database: None) -> None:
    one = SourceTrigger(
        uri="s3://lake/2013-02.csv",
        aws_conn_id="lake",
        poke_interval_seconds=300.0,
        since=NOW,
        until=NOW + HOUR,
    )
    stored = Trigger.from_object(one)
    again = import_string(stored.classpath)(**stored.kwargs)
    assert type(again) is SourceTrigger
    assert again.serialize() == one.serialize()
    assert again.until == NOW + HOUR


def test_it_goes_on_until_the_file_comes(https_site: tuple[Site, str]) -> None:
    site, url = https_site

    async def file_comes() -> list[dict[str, Any]]:
        waiting = asyncio.create_task(events(trigger(f"{url}/month.csv")))
        while len(site.requests) < 3:
            await asyncio.sleep(0.001)
        assert not waiting.done()
        site.files["/month.csv"] = b"a"
        return await waiting

    assert asyncio.run(file_comes()) == [event(True)]


def test_an_error_of_one_look_is_logged_and_the_next_look_finds(
    https_site: tuple[Site, str], capfd: pytest.CaptureFixture[str]
) -> None:
    site, url = https_site
    site.files["/x.csv"] = b"a"
    site.statuses = [418, *[500] * https_client.TRIES]  # one look for the first, one for the others
    assert asyncio.run(events(trigger(f"{url}/x.csv"))) == [event(True)]
    log = "".join(capfd.readouterr())
    assert log.count("Source check failed, will retry") == 2
    assert f"{url}/x.csv: the server answered 418" in log
    assert site.gets("/x.csv") == []  # it looks and does not download


def test_a_look_that_hangs_does_not_stop_other_triggers(
    https_site: tuple[Site, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_hangs() -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.setblocking(False)
            uri = f"https://127.0.0.1:{silent.getsockname()[1]}/x"
            task = asyncio.create_task(events(trigger(uri, NOW)))
            connection, _ = await loop.sock_accept(silent)  # it waits for the handshake
            for _ in range(100):
                await asyncio.sleep(0)
            assert not task.done()
            connection.close()
        return await task

    assert asyncio.run(look_hangs()) == [event(False, NOW)]
