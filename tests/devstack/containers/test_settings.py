"""What is written for Podman, and for the time of a build."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from devstack.containers import host_settings, podman_settings
from devstack.containers.engine import runtime_folder, version_of
from devstack.containers.podman_settings import Variant

RUNC = Variant("runc", "overlay")
FOLDER, RUN = Path("/checkout/.run/containers"), Path("/run/of-this-checkout")


def test_what_podman_keeps_lies_in_folders_of_this_checkout() -> None:
    conf = tomllib.loads(podman_settings.containers_conf(RUNC, FOLDER, RUN))
    storage = tomllib.loads(podman_settings.storage_conf(RUNC, FOLDER, RUN))
    assert conf["engine"]["runtime"] == "runc"
    assert conf["engine"]["tmp_dir"].startswith(str(RUN))
    assert conf["engine"]["lock_type"] == "file"
    assert conf["network"]["network_config_dir"].startswith(str(FOLDER))
    assert conf["containers"]["default_ulimits"] == ["nofile=4096:4096", "nproc=4096:4096"]
    assert "volumes" not in conf["containers"]
    assert storage["storage"]["driver"] == "overlay"
    assert storage["storage"]["graphroot"].startswith(str(FOLDER))
    assert storage["storage"]["runroot"].startswith(str(RUN))


def test_mounts_are_those_of_a_build_only() -> None:
    text = podman_settings.containers_conf(RUNC, FOLDER, RUN, ["/a:/b:ro"])
    assert tomllib.loads(text)["containers"]["volumes"] == ["/a:/b:ro"]


def test_what_is_faster_is_tried_first_and_drivers_share_no_folder() -> None:
    fuse = "/usr/bin/fuse-overlayfs"
    tried = podman_settings.variants({"runc": "/x", "crun": None, "fuse-overlayfs": fuse})
    assert [each.name for each in tried] == [
        "runc, overlay",
        "runc, overlay with fuse-overlayfs",
        "runc, vfs",
    ]
    storages = [
        tomllib.loads(podman_settings.storage_conf(each, FOLDER, RUN))["storage"]["graphroot"]
        for each in tried
    ]
    assert len(set(storages)) == len(tried)
    assert podman_settings.variants({"runc": None, "crun": None}) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ps", "--all"], ["ps", "--all"]),
        (["create", "--health-startup-interval", "5s", "i", "a b"], ["create", "i", "a b"]),
        (["create", "--requires=one,two", "image"], ["create", "image"]),
        (["create", "--read-only", "i"], ["create", "--read-only", "--read-only-tmpfs=false", "i"]),
        (
            ["exec", "c", "sh", "-c", "echo '$x' \"\" *"],
            ["exec", "c", "sh", "-c", "echo '$x' \"\" *"],
        ),
    ],
)
def test_the_wrapper_leaves_out_what_podman_cannot_do(
    words: list[str], expected: list[str], tmp_path: Path
) -> None:
    podman, script = tmp_path / "podman", tmp_path / "wrapper"
    podman.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script.write_text(podman_settings.wrapper(str(podman)))
    for path in (podman, script):
        path.chmod(0o755)
    done = subprocess.run([script, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == expected


def test_indexes_of_the_host_are_those_that_a_container_can_reach() -> None:
    listing = (
        "global.index-url='https://one.example/simple'\n"
        "global.extra-index-url='file:///srv/simple https://two.example/simple'\n"
    )
    indexes = host_settings.pip_indexes(listing, {})
    assert indexes == ["https://one.example/simple", "https://two.example/simple"]
    uv = tomllib.loads(host_settings.uv_toml(indexes))
    assert uv["index-url"] == indexes[0]
    assert uv["extra-index-url"] == indexes[1:]
    assert "index-url = https://one.example/simple" in host_settings.pip_conf(indexes)
    from_variable = host_settings.pip_indexes(listing, {"PIP_INDEX_URL": "https://three.example"})
    assert from_variable[0] == "https://three.example"


def test_without_settings_of_the_host_only_certificates_are_set() -> None:
    indexes = host_settings.pip_indexes("", {})
    assert tomllib.loads(host_settings.uv_toml(indexes)) == {"system-certs": True}
    assert "index-url" not in host_settings.pip_conf(indexes)


def test_only_proxies_are_taken_from_apt() -> None:
    dump = (
        'APT::Architecture "amd64";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::Proxy "";\n'
    )
    assert host_settings.apt_proxies(dump) == 'Acquire::http::Proxy "http://proxy.example:3128";\n'


def test_every_checkout_has_its_own_short_runtime_folder(tmp_path: Path) -> None:
    folders = {runtime_folder(tmp_path / name / ("deep/" * 20)) for name in ("a", "b")}
    assert len(folders) == 2
    assert all(len(os.fspath(folder)) < 40 for folder in folders)


def test_versions_are_compared_as_numbers() -> None:
    assert version_of("Docker Compose version v2.9.1") < (2, 24) <= version_of("2.24.0")
