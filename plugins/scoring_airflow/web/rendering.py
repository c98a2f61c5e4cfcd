"""Templates: Jinja with autoescape, the filters of ``formats`` and the addresses of ``urls``."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from scoring_airflow.web import static_files, urls
from scoring_airflow.web.formats import FILTERS, visible


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("scoring_airflow.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals |= {"urls": urls, "static": static_files.url}
    return environment


def html(template: str, status: int = 200, **values: Any) -> Response:
    """Return the page that ``template`` makes of ``values``."""
    return HTMLResponse(_environment().get_template(template).render(values), status)
