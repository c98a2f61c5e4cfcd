"""What the check reads from docker-compose.yaml and the Dockerfile, rather than repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack.containers import base_images, compose
from devstack.errors import DevstackError

REPOSITORY = Path(__file__).resolve().parents[3]
DOCUMENT: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yaml").read_text())
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def test_every_pinned_image_has_a_stand_in() -> None:
    pinned = base_images.pinned_images(DOCUMENT, DOCKERFILE)
    assert set(pinned) == {"python", "postgres", "valkey"}
    assert pinned["postgres"] == DOCUMENT["services"]["postgres"]["image"]
    assert f"ARG PYTHON_IMAGE={pinned['python']}\n" in DOCKERFILE
    for kind in pinned:
        assert (base_images.RECIPES / kind / "Dockerfile").is_file()


def test_a_dockerfile_without_a_pinned_python_is_refused() -> None:
    with pytest.raises(DevstackError, match="PYTHON_IMAGE"):
        base_images.pinned_images(DOCUMENT, "FROM scratch\n")


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("postgres:18.4", "docker.io/library/postgres:18.4"),
        ("valkey/valkey:9", "docker.io/valkey/valkey:9"),
        ("quay.io/some/image:1", "quay.io/some/image:1"),
        ("localhost/image:1", "localhost/image:1"),
    ],
)
def test_short_names_are_those_of_dockers_registry(short: str, full: str) -> None:
    assert base_images.full_name(short) == full


def test_a_service_starts_after_all_that_it_depends_on() -> None:
    waves = compose.waves(DOCUMENT)
    assert waves[:2] == [["postgres", "valkey", "object-store"], ["airflow-init"]]
    started = sorted(name for wave in waves for name in wave)
    optional = {"serve", "stream"}  # have profiles, and are started by their names only
    assert started == sorted(DOCUMENT["services"].keys() - optional)


def test_services_that_depend_on_each_other_are_refused() -> None:
    circle = {"services": {"a": {"depends_on": ["b"]}, "b": {"depends_on": ["a"]}}}
    with pytest.raises(DevstackError, match="depend on each other: a, b"):
        compose.waves(circle)


def test_each_image_is_built_once() -> None:
    built = compose.services_that_build(DOCUMENT)
    assert list(built.values()) == ["object-store", "airflow-init"]
    assert len(built) == 2
    assert compose.replicas(DOCUMENT) == {"worker": 2}


def test_a_container_is_read_from_what_an_engine_says_of_it() -> None:
    labels = {compose.SERVICE_LABEL: "worker"}
    state = {"Running": True, "ExitCode": 0, "Pid": 42, "Health": {"Status": "healthy"}}
    found = compose.Container.of(
        {"Name": "/worker-1", "Id": "abc", "Config": {"Labels": labels}, "State": state}
    )
    assert (found.name, found.service, found.pid, found.health) == (
        "worker-1",
        "worker",
        42,
        "healthy",
    )
