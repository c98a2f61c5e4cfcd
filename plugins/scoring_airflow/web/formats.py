"""How numbers, moments and texts look in the pages: the filters of the templates."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

from markupsafe import Markup

_CONTROL = [*range(0x00, 0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0)]
_DIRECTION = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_INVISIBLE = {code: f"\\u{code:04x}" for code in [*_CONTROL, *_DIRECTION]}


def visible(value: Any) -> Any:
    """Return a text with what would hide or turn it around written out; other values as they are.

    A mark such as U+202E makes ``gpj.exe`` of ``exe.jpg``.
    """
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.translate(_INVISIBLE)
    return value


def number(value: float | None) -> str:
    """Return a number with thousands separators; a dash for none."""
    return "–" if value is None else f"{value:,}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return ``1 job`` or ``2,400 jobs``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def moment(value: datetime, zone: tzinfo | None = None) -> str:
    """Return a moment to the minute with its zone, such as ``2013-06-02 03:00 UTC``."""
    local = value.astimezone(zone) if zone else value
    return f"{local:%Y-%m-%d %H:%M %Z}"


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def percent(share: float | None) -> str:
    """Return a share of 1 in percent; what is not quite nothing, or not quite all, is said so."""
    if share is None:
        return "–"
    shown = f"{share:.1%}"
    if shown == "0.0%" and share:
        shown = "<0.1%"
    elif shown == "100.0%" and share < 1:
        shown = ">99.9%"
    return shown.replace(".0%", "%").replace("%", "\u202f%")


def capitalize_first(text: str) -> str:
    """Return ``text`` with a capital letter at its beginning, the others as they are."""
    return text[:1].upper() + text[1:]


def figure(value: float | None) -> str:
    """Return a figure with four significant digits, a whole number with all of them; a dash for none."""
    if value is None:
        return "–"
    is_whole = value == int(value) if abs(value) < 1e9 else False
    return f"{value:,.0f}" if is_whole or 10_000 <= abs(value) < 1e9 else f"{value:.4g}"


FILTERS = {
    "number": number,
    "counted": counted,
    "moment": moment,
    "size": size,
    "percent": percent,
    "figure": figure,
    "capitalize_first": capitalize_first,
}
