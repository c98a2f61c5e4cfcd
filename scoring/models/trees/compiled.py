"""The compiled part, ``_kernels.c``: what is installed without a compiler works without it."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import Any

log = logging.getLogger(__name__)


@cache
def kernels() -> Any:
    """Return the compiled module; None, after one warning in the log, where it is missing."""
    try:
        return importlib.import_module("scoring.models.trees._kernels")
    except ImportError as error:
        log.warning("exact trees are off: %s; predictions are the same, slower", error)
        return None
