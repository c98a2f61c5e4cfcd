"""The compiled parts of the package, which are missing only on machines without a compiler."""

from __future__ import annotations

import shutil
import sysconfig
from typing import Any

import pytest


def needed(part: Any) -> Any:
    """``part``, a compiled module; the test is left out where there is neither it nor a compiler."""
    if part is None:
        compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
        assert shutil.which(compiler) is None, "a compiled part is missing: make setup"
        pytest.skip("this machine has no C compiler, so the compiled part was not built")
    return part
