"""Podman's settings for this check, as text: what it keeps lies in folders of its own, and the host
stays as it is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Podman asks for a million open files, which a host may refuse; 4096 are more than any service here
# opens.
ULIMITS = ("nofile=4096:4096", "nproc=4096:4096")


@dataclass(frozen=True)
class Variant:
    """A runtime and a storage driver that a host may or may not be able to use."""

    runtime: str
    driver: str
    mount_program: str | None = None

    @property
    def name(self) -> str:
        by = f" with {Path(self.mount_program).name}" if self.mount_program else ""
        return f"{self.runtime}, {self.driver}{by}"


def variants(programs: Mapping[str, str | None]) -> list[Variant]:
    """What is worth trying, best first, by the paths of `crun`, `runc` and `fuse-overlayfs`."""
    runtimes = [name for name in ("crun", "runc") if programs.get(name)]
    fuse = programs.get("fuse-overlayfs")
    drivers = [("overlay", None), *([("overlay", fuse)] if fuse else []), ("vfs", None)]
    return [Variant(runtime, *driver) for driver in drivers for runtime in runtimes]


def containers_conf(variant: Variant, folder: Path, run: Path, mounts: Sequence[str] = ()) -> str:
    """The file that CONTAINERS_CONF names; `mounts` are put into every container, also while images
    are built.
    """
    return _toml(
        {
            "containers": {
                "default_ulimits": list(ULIMITS),
                **({"volumes": list(mounts)} if mounts else {}),
            },
            "engine": {
                "runtime": variant.runtime,
                "cgroup_manager": "cgroupfs",  # systemd's needs systemd
                "events_logger": "file",
                "lock_type": "file",  # the default is shared with the host's other containers
                "tmp_dir": str(run / "tmp"),
            },
            "network": {"network_config_dir": str(folder / "networks")},
        }
    )


def storage_conf(variant: Variant, folder: Path, run: Path) -> str:
    """The file that CONTAINERS_STORAGE_CONF names."""
    kind = "fuse" if variant.mount_program else variant.driver
    options = {"mount_program": variant.mount_program} if variant.mount_program else {}
    return _toml(
        {
            "storage": {
                "driver": variant.driver,
                "graphroot": str(folder / "storage" / kind),
                "runroot": str(run / "storage"),
            },
            f"storage.options.{variant.driver}": options,
        }
    )


def registries_conf() -> str:
    """The file that CONTAINERS_REGISTRIES_CONF names: a short name means what it means to Docker."""
    return 'unqualified-search-registries = ["docker.io"]\n'


def wrapper(podman: str) -> str:
    """What podman-compose calls in place of `podman`: a script that leaves out what Podman 4.3
    cannot do.

    It has no interval for the time of the start, and refuses to start containers whose requirements
    have requirements that are not named in the same call; `compose.Project` starts them in order
    instead. And it adds tmpfs to read-only containers, over folders of the image, which Docker does
    not.
    """
    return f"""#!/bin/sh
left=$# skip=no
while [ "$left" -gt 0 ]; do
    left=$((left - 1)) word=$1
    shift
    if [ "$skip" = yes ]; then skip=no; continue; fi
    case $word in
        --health-startup-interval) skip=yes ;;
        --requires=*) ;;
        --read-only) set -- "$@" --read-only --read-only-tmpfs=false ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec {podman} "$@"
"""


def _toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """JSON's strings and lists of strings are TOML's, too."""
    lines: list[str] = []
    for name, values in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
