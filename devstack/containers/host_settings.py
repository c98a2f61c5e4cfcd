"""How this host reaches package registries, for the time of a build: certificates, indexes and
proxies.

They are mounted, so no image keeps them. The Dockerfile knows nothing of them.
"""

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # where Debian's images have theirs
PIP = "/etc/pip.conf"
UV = "/etc/uv/uv.toml"
APT = "/etc/apt/apt.conf.d/99-of-the-host"


def build_mounts(folder: Path) -> list[str]:
    """The mounts for a build; files that are written for them lie in `folder`."""
    pip = _output([sys.executable, "-m", "pip", "config", "list"])
    indexes = pip_indexes(pip, os.environ)
    files = {PIP: pip_conf(indexes), UV: uv_toml(indexes)}
    if shutil.which("apt-config") and (proxies := apt_proxies(_output(["apt-config", "dump"]))):
        files[APT] = proxies
    mounts = []
    certificates = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    for candidate in (certificates, CERTIFICATES):
        if candidate and Path(candidate).is_file():
            mounts.append(f"{candidate}:{CERTIFICATES}:ro")
            break
    folder.mkdir(parents=True, exist_ok=True)
    for target, text in files.items():
        path = folder / Path(target).name
        path.write_text(text)
        mounts.append(f"{path}:{target}:ro")
    return mounts


def pip_indexes(listing: str, environment: Mapping[str, str]) -> list[str]:
    """The default index, if it is another than PyPI, and further ones; those on the host's disk are
    left out.

    `listing` is what `pip config list` prints.
    """
    settings: dict[str, str] = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        settings[name.split(".")[-1]] = value.strip("'\"").replace("\\n", " ")
    found = [
        environment.get(f"PIP_{name.upper().replace('-', '_')}") or settings.get(name, "")
        for name in ("index-url", "extra-index-url")
    ]
    default, further = found
    return [default, *(url for url in further.split() if url.startswith("http"))]


def pip_conf(indexes: Sequence[str]) -> str:
    """pip's settings, with the certificates of the container."""
    first, *further = indexes
    lines = ["[global]", f"cert = {CERTIFICATES}"]
    lines += [f"index-url = {first}"] if first else []
    lines += ["extra-index-url ="] * bool(further) + [f"    {url}" for url in further]
    return "\n".join(lines) + "\n"


def uv_toml(indexes: Sequence[str]) -> str:
    """The same for uv."""
    first, *further = indexes
    lines = ["system-certs = true"]
    lines += [f'index-url = "{first}"'] if first else []
    lines += [f"extra-index-url = {further!r}"] if further else []
    return "\n".join(lines).replace("'", '"') + "\n"


def apt_proxies(dump: str) -> str:
    """The lines of `apt-config dump` that name a proxy."""
    lines = [line for line in dump.splitlines() if "proxy" in line.lower() and '""' not in line]
    return "".join(f"{line}\n" for line in lines if line.startswith("Acquire::"))


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""
