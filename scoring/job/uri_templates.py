"""URIs in a job: templates, the roots they start from, and how relative ones are resolved.

A template may use the roots ``{data}`` and ``{models}`` (from the environment variables
SCORING_DATA and SCORING_MODELS, so that the same job runs on a laptop and in production) and the
fields of the partition: ``{year}``, ``{month}``, ``{week}``, ``{day}``, ``{hour}``,
``{partition}``.
"""

from __future__ import annotations

import glob
import os
import re
import string
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scoring.errors import JobError
from scoring.job import uri_slips
from scoring.job.partitions import Partition
from scoring.job.uri_slips import check_slips, close_field

SCHEMES = ("s3", "file")
"""Schemes of sources, models and destinations; sources may use https too."""

ROOT_FIELDS = {
    "data": "`--data` in the shell, else the environment variable `SCORING_DATA`, else `.run/data` in the current "
    "folder",
    "models": "the environment variable `SCORING_MODELS`, else `{data}/models`",
}
"""The fields of every URI, with their values."""

PARTITION_FIELDS = ("year", "month", "week", "day", "hour", "partition")


def check_source_fields(template: str) -> str:
    """Return ``template``; raise ValueError for an unknown field in the URI of a source."""
    _check_fields(template, [*ROOT_FIELDS, *PARTITION_FIELDS], "of a URI")
    return template


def check_source_template(template: str) -> str:
    """Like ``check_source_fields``, and check the scheme too, for a source of files."""
    check_source_fields(template)
    _check_scheme(template, ("https", *SCHEMES))
    if template.startswith("https://"):
        _check_https(template)
    return template


def check_root_fields(template: str) -> str:
    """Like ``check_source_fields`` for a URI of all partitions: of a model or destination."""
    _check_fields(template, [*ROOT_FIELDS], "of this URI (the same for all partitions)")
    return template


def check_root_template(template: str) -> str:
    """Like ``check_root_fields``, and check the scheme too, for files."""
    check_root_fields(template)
    _check_scheme(template, SCHEMES)
    return template


def is_pattern(template: str) -> bool:
    """Whether ``template`` may stand for several files; over https nothing can be listed."""
    return not template.startswith("https://") and re.search(r"[*?\[]", template) is not None


def folder_of(uri: str) -> str:
    """The folder, with its slash, in which everything lies that the URI or pattern ``uri`` means."""
    fixed = re.split(r"[*?\[]", uri, maxsplit=1)[0] if is_pattern(uri) else without_query(uri)
    return fixed[: fixed.rfind("/") + 1]


def fields_of(template: str) -> set[str]:
    """The fields in a template that was checked."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def without_query(uri: str) -> str:
    """``uri`` up to the name of the file: without what follows a ``?`` in an https URI."""
    return uri.partition("?")[0] if uri.startswith("https://") else uri


def _check_fields(template: str, known: list[str], where: str) -> None:
    check_slips(template, known)
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is not a URI template: {error}") from None
    for literal, name, spec, conversion in parsed:
        if "}" in literal:  # written twice, which Python takes for one
            raise ValueError(f"{template!r} is not a URI template: it has an unmatched }}")
        if name is not None and (name not in known or spec or conversion):
            field = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            close = close_field(name, known)
            hint = f"; did you mean {{{close}}}?" if close else ""
            raise ValueError(f"{{{field}}} is not a field {where}; known: {', '.join(known)}{hint}")


def _check_scheme(uri: str, supported: tuple[str, ...]) -> None:
    if slip := re.match(rf"({uri_slips.KNOWN_SCHEMES}):/?(?!/)", uri, re.IGNORECASE):
        raise ValueError(f"{slip[0]} is not the start of a URI; write {slip[1].lower()}://")
    scheme, found, _ = uri.partition("://")
    if found and scheme not in supported:
        why = " (the rows could be modified in transit)" if scheme == "http" else ""
        names = ", ".join(f"{name}://" for name in supported)
        raise ValueError(f"{scheme}:// is not supported{why}; use {names} or a path")


def _check_https(template: str) -> None:
    # The message does not quote the URI, which may contain a password.
    try:
        parts = urlsplit(template)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise ValueError("has no host or an invalid port; write https://host/path.parquet")
    if "@" in parts.netloc:
        raise ValueError(
            "has a user or password, but secrets do not belong in a job file; over https, only "
            "public files are supported"
        )
    if re.search(r"[*\[]", parts.path):
        raise ValueError(
            "is a pattern, but https servers cannot list files; name one file per partition"
        )


@dataclass(frozen=True)
class Roots:
    """What ``{data}`` and ``{models}`` stand for, and the folder relative paths start from."""

    data: str
    models: str
    base: Path
    data_is_default: bool = False

    @classmethod
    def of(cls, base: Path, data: str | None = None) -> Roots:
        """``data``, else SCORING_DATA, else ``.run/data``; models in SCORING_MODELS or data/models.

        Raises JobError for a root that nothing can be published to.
        """
        given = data or os.environ.get("SCORING_DATA")
        data = given or str(Path(".run/data").absolute())
        _check_root("data", data)
        data = os.path.abspath(data) if "://" not in data else data
        models = os.environ.get("SCORING_MODELS") or f"{data}/models"
        _check_root("models", models)
        return cls(data.rstrip("/"), models.rstrip("/"), base.absolute(), not given)

    def hint(self, template: str) -> str:
        """What to add to the message about a file that is not there: where ``{data}`` is from."""
        if not self.data_is_default or not fields_of(template) & set(ROOT_FIELDS):
            return ""
        return (
            f". {{data}} is {self.data}, because neither SCORING_DATA nor --data says where the "
            "data is"
        )

    def source_patterns(
        self, template: str, partition: Partition, every_day: bool = False
    ) -> dict[str, str]:
        """The URIs of the source of ``partition``, and what finds the files of each.

        Only what is a pattern in ``template`` itself is one.  There is one URI; with ``every_day``
        one for each value that ``{year}``, ``{month}`` and ``{day}`` have within the partition: the
        two months of a week, the days of a month.
        """
        fields = [partition.uri_fields]
        if every_day and fields_of(template) & set(PARTITION_FIELDS) <= {"year", "month", "day"}:
            fields = [
                {"year": f"{day.year:04d}", "month": f"{day:%m}", "day": f"{day:%d}"}
                for day in partition.days
            ]
        return {self._expanded(template, of): self._source_pattern(template, of) for of in fields}

    def _source_pattern(self, template: str, fields: dict[str, str]) -> str:
        if template.startswith("https://"):
            return self._expanded(template, fields)
        if not is_pattern(template):
            return _escaped(self._expanded(template, fields))
        plain = Roots(_escaped(self.data), _escaped(self.models), Path(_escaped(str(self.base))))
        return plain._expanded(template, fields)

    def expand(self, template: str, partition: Partition | None = None) -> str:
        """The absolute URI that ``template`` gives for ``partition``; plain paths stay paths."""
        return self._expanded(template, partition.uri_fields if partition else {})

    def _expanded(self, template: str, fields: dict[str, str]) -> str:
        roots = {"data": self.data, "models": self.models}
        uri = template.format_map(roots | fields).removeprefix("file://")
        return uri if "://" in uri else os.path.normpath(os.path.join(self.base, uri))


def _escaped(uri: str) -> str:
    scheme, separator, path = uri.rpartition("://")
    return scheme + separator + glob.escape(path)


def _check_root(field: str, root: str) -> None:
    """JobError for what ``{field}`` cannot stand for."""
    try:
        _check_scheme(root, SCHEMES)
    except ValueError as error:
        raise JobError(f"{{{field}}} is an unsupported URI: {error}") from None
    if root.startswith(("~", "$")):
        raise JobError(
            f"{{{field}}} is {root}, but {root.partition('/')[0]} is not expanded here; write an "
            "absolute path"
        )
