"""The images that ours are built on and stand beside: pulled, or stand-ins where no registry can be
reached.

A stand-in has the pinned image's name, user, paths and behaviour as far as docker-compose.yaml and
the Dockerfile use them; its programs come from Debian (Python) and from the packages that `make
stack` runs (Postgres, Valkey).
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.containers.engine import Engine
from devstack.errors import DevstackError
from devstack.services import postgres, valkey

RECIPES = Path(__file__).resolve().parent / "stand_ins"
BASE = "localhost/batch-scoring-stand-in:base"
LABEL = "batch-scoring.stand-in"
PACKAGES = "ca-certificates,passwd,python3,python3-pip"
NOT_INSTALLED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
MIRROR = "http://deb.debian.org/debian"


@dataclass(frozen=True)
class BaseImage:
    """An image that was not built from this project's Dockerfile, and where it came from."""

    name: str
    origin: str  # pulled, or stand-in


def pinned_images(compose: Mapping[str, Any], dockerfile: str) -> dict[str, str]:
    """The images by what is in them (`python`, `postgres`, `valkey`), as the two files name them."""
    named = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    if named is None:
        raise DevstackError("the Dockerfile has no line ARG PYTHON_IMAGE=…")
    names = [named[1]]
    names += [each["image"] for each in compose["services"].values() if "build" not in each]
    return {name.split(":")[0].split("/")[-1]: name for name in names}


def full_name(image: str) -> str:
    """The name with Docker's registry, which short names mean: `postgres:18` is
    `docker.io/library/postgres:18`.
    """
    first, _, rest = image.partition("/")
    if not rest:
        return f"docker.io/library/{image}"
    return image if "." in first or ":" in first or first == "localhost" else f"docker.io/{image}"


def provide(
    engine: Engine, pinned: Mapping[str, str], say: Callable[[str], None]
) -> list[BaseImage]:
    """Pull each image; where that fails, make its stand-in, unless there is one already."""
    found = []
    for kind, name in pinned.items():
        problem = _pull(engine, name)
        if problem is None:
            found.append(BaseImage(name, "pulled"))
            continue
        if engine.is_docker:
            raise DevstackError(
                f"{name} cannot be pulled, and stand-ins are made for Podman only, in a storage of "
                f"their own, so that nothing else takes them for the image: {problem}"
            )
        how = _stand_in(engine, kind, name)
        say(f"{name}: {how}, as it cannot be pulled ({problem})")
        found.append(BaseImage(name, how))
    return found


def _pull(engine: Engine, name: str) -> str | None:
    """None if the image is there, otherwise why it is not."""
    full = full_name(name)
    if engine.succeeds("image", "inspect", full) and not _made_by(engine, full):
        return None
    try:
        engine.run("pull", "--quiet", full)
    except DevstackError as error:
        return re.sub(r"^.*: (?=\S)", "", str(error).splitlines()[-1])
    return None


def _made_by(engine: Engine, name: str) -> str:
    """The digest of the recipe that made a stand-in; empty for a pulled image."""
    if not engine.succeeds("image", "inspect", name):
        return ""
    (image,) = engine.inspect(name)
    return str(((image.get("Config") or {}).get("Labels") or {}).get(LABEL, ""))


def _stand_in(engine: Engine, kind: str, name: str) -> str:
    recipe = RECIPES / kind
    if not recipe.is_dir():
        raise DevstackError(f"{name} cannot be pulled, and no stand-in for it exists")
    suite = "bookworm"
    digest = _digest(recipe, suite)
    if _made_by(engine, full_name(name)) == digest:
        return "stand-in (kept)"
    _make_base(engine, suite)
    with tempfile.TemporaryDirectory() as temporary:
        context = Path(temporary) / kind
        shutil.copytree(recipe, context)
        _add_programs(kind, context)
        options = ["--quiet", f"--label={LABEL}={digest}", f"--tag={full_name(name)}"]
        engine.run("build", *options, str(context))
    return "stand-in"


def _digest(recipe: Path, suite: str) -> str:
    content = b"".join(path.read_bytes() for path in sorted(recipe.iterdir()) if path.is_file())
    return hashlib.sha256(f"{suite} {PACKAGES}".encode() + content).hexdigest()[:16]


def _make_base(engine: Engine, suite: str) -> None:
    """Debian with Python, from its packages; once."""
    if engine.succeeds("image", "inspect", BASE):
        return
    if shutil.which("mmdebstrap") is None:
        raise DevstackError(
            "stand-ins need the program mmdebstrap, which is not installed. Run: make "
            "setup-containers"
        )
    left_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_INSTALLED]
    fast = ["--dpkgopt=force-unsafe-io"]  # nothing is kept of a half-made one
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}", *fast, *left_out]
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "base.tar"
        engine.call([*command, suite, str(archive), f"deb {MIRROR} {suite} main"])
        engine.run("import", str(archive), BASE)


def _add_programs(kind: str, context: Path) -> None:
    """Copy Postgres or Valkey out of this environment's packages."""
    if kind == "postgres":
        installed = postgres.program("postgres").parents[1]
        package = installed.parent
        programs = context / "programs"
        shutil.copytree(installed, programs / package.name / installed.name)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, programs / libraries.name)
    elif kind == "valkey":
        shutil.copy(valkey.program(), context / "valkey-server")
