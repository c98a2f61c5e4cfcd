"""Style sheet and script: named by their digest, so that a browser may keep them and never has old ones."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, HTTPException, Response

from scoring_airflow.web import urls

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).with_name("static")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Return media type and bytes by the name that they are served under."""
    found = {}
    for path in sorted(_FOLDER.iterdir()):
        if path.suffix in _TYPES:
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()[:12]
            found[f"{path.stem}.{digest}{path.suffix}"] = (_TYPES[path.suffix], data)
    return found


@cache
def _name(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return next(n for n in _files() if n.startswith(f"{stem}.") and n.endswith(f".{suffix}"))


def url(name: str) -> str:
    """Return the address of the file ``name``, such as ``scoring.css``."""
    return urls.page(f"/static/{_name(name)}")


@router.get("/static/{name}")
def static(name: str) -> Response:
    if name not in _files():
        raise HTTPException(404, "There is no such file.")
    media_type, data = _files()[name]
    kept = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(data, media_type=media_type, headers=kept)
