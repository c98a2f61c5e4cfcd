"""Regular expressions of the JSON schema of a job file, in the syntax that ECMA-262 and Python
share.

Each is a necessary condition: it matches every value that ``scoring.job.loader`` accepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from scoring.job import uri_slips
from scoring.job.partitions import Kind
from scoring.job.sql_params import JINJA, PARAMETERS


def whole(pattern: str) -> str:
    """Return a pattern for a whole string; in Python, ``$`` alone ignores a newline at the end."""
    return rf"^(?:{pattern})$(?!\n)"


def ignore_case(pattern: str) -> str:
    """Return ``pattern``, which has no character classes, for letters in any case."""
    return re.sub(
        r"\\.|[A-Za-z]",
        lambda found: (
            found[0] if found[0][0] == "\\" else f"[{found[0].lower()}{found[0].upper()}]"
        ),
        pattern,
    )


_LEAP_YEAR = (
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"  # 0000 is none
)
_DATE = (
    "(?!0000)(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_OFFSET = "[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9]"
_CLOCK = r"[T ](?:[01][0-9]|2[0-4]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"

DATE = whole(_DATE)
TIMESTAMP = whole(f"{_DATE}(?:{_CLOCK}(?:Z|{_OFFSET})?)?")
TIMESTAMP_WITH_OFFSET = whole(f"{_DATE}{_CLOCK}(?:Z|{_OFFSET})")
TIMESTAMP_WITHOUT_OFFSET = whole(f"{_DATE}(?:{_CLOCK})?")

PARTITION_KEYS: dict[Kind, str] = {
    "month": whole("[12][0-9]{3}-(?:0[1-9]|1[0-2])"),
    "week": whole("[12][0-9]{3}-W(?:0[1-9]|[1-4][0-9]|5[0-3])"),
    "day": whole(f"(?=[12]){_DATE}"),
    "hour": whole(f"(?=[12]){_DATE}T(?:[01][0-9]|2[0-3]){_OFFSET.replace(':?', '')}"),
}

TIME_ZONE = whole(
    "(?:(?:posix|right)/)?(?:"
    "(?:Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Canada|Chile|Etc|Europe|Indian"
    "|Mexico|Pacific|SystemV|US)/[A-Za-z0-9/_+-]+"
    "|CET|CST6CDT|Cuba|EET|EST|EST5EDT|Egypt|Eire|Factory|GB|GB-Eire|GMT|GMT[+-]?0|Greenwich|HST"
    "|Hongkong|Iceland|Iran|Israel|Jamaica|Japan|Kwajalein|Libya|MET|MST|MST7MDT|NZ|NZ-CHAT|Navajo"
    "|PRC|PST8PDT|Poland|Portugal|ROC|ROK|Singapore|Turkey|UCT|UTC|Universal|W-SU|WET|Zulu"
    "|localtime|posixrules)"
)
"""The areas of the IANA database, and its names without an area, both of which are complete."""


def _cron() -> str:
    months = ignore_case("(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)")
    days = ignore_case("(?:sun|mon|tue|wed|thu|fri|sat)")
    fields = (
        _cron_field("[0-5]?[0-9]"),
        _cron_field("(?:1?[0-9]|2[0-3])"),
        rf"(?:\?|{_cron_field('(?:[1-9]|[12][0-9]|3[01]|[lL])', '[wW]0*[0-9]{1,2}|0*[0-9]{1,2}[wW]')})",
        _cron_field(f"(?:[1-9]|1[0-2]|{months})"),
        rf"(?:\?|{_cron_field(f'(?:[0-7]|{days})', f'[lL]?(?:0*[0-7]|{days})(?:#0*[1-5])?')})",
    )
    return r"\s*" + r"\s+".join(fields) + r"\s*"


def _cron_field(value: str, special: str = "") -> str:
    """A list of values, ranges and steps; ``special`` has the forms that only one field has."""
    item = rf"(?:\*|0*{value}(?:-0*{value})?)(?:/0*[1-9][0-9]*)?"
    item = f"(?:{item}|{special})" if special else item
    return rf"(?:{item}(?:,(?=\S)|(?!\S)))+"


CRON = whole(_cron())

_PLAIN = "[^'`$/\"-]*"  # before the first quote or comment, every character counts
QUERY = (
    rf"^(?![\s\S]*(?:{JINJA.pattern}))(?!{_PLAIN};)"
    rf"""(?!{_PLAIN}[^\w:)\]'`$/"-]:(?!(?:{"|".join(PARAMETERS)})(?![A-Za-z0-9_]))[A-Za-z_])"""
    rf"(?=\s*(?:{ignore_case('select')}|{ignore_case('with')}|[^\s(A-DF-Za-df-z]|[eE]'))"
    rf"[\s\S]*{ignore_case('order')}[\s\S]*{ignore_case('by')}"
)

SCORER = whole(r"(?![/~])(?![^\n]*[\\{$])(?!(?:[\s\S]*/)?\.\.(?:/|$))[\s\S]*")

_SLIPS = (
    r"[\s\S]*[\x00-\x1f\x7f\\]",
    r"(?:file:/*)?[A-Za-z]:[\\/](?!/)",
    "(?:file:/*)?~",
    rf"[\s\S]*(?:{uri_slips.STRFTIME.pattern})",
    rf"(?!https://)[\s\S]*(?:{uri_slips.VARIABLE.pattern})",
    rf"https://[^?]*(?:{uri_slips.VARIABLE.pattern})",
    rf"https://[\s\S]*(?:{uri_slips.CURLY_VARIABLE})",
)
"""What other tools expand, as in ``scoring.job.uri_slips``."""


def uri_template(fields: Iterable[str]) -> str:
    """The pattern of a URI template with ``fields``."""
    slips = "".join(f"(?!{slip})" for slip in _SLIPS)
    return whole(rf"{slips}(?:[^{{}}]|\{{(?:{'|'.join(fields)}):?\}})*")


def scheme(*supported: str) -> str:
    """The pattern of URIs with one of the ``supported`` schemes, and of plain paths."""
    without_slashes = rf"(?!(?:{ignore_case(uri_slips.KNOWN_SCHEMES)}):(?!//))"
    known = "|".join(supported)
    return rf"^{without_slashes}(?:(?:{known})://|(?![\s\S]*://))"


HTTPS = r"^(?!https://)|^https://(?!:)(?![^/?#]*@)[^/?#](?![^?#]*/[^?#]*[*\[])"
"""An https URI has a host, neither user nor password, and is not a pattern; others are."""

PATTERN = r"^(?!https://)[\s\S]*[*?\[]"
"""A URI that matches several files."""

MODEL_FOLDER = r"^mlflow:|/$"
"""A model that is a folder: only a run can compute the digest that it needs."""


def file_extension(names: Iterable[str]) -> str:
    """The pattern of paths whose file name has one of the extensions ``names``."""
    return rf"[^/]\.(?:{'|'.join(re.escape(name) for name in names)})(?:/\.?)*$"
