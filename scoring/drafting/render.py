"""A draft as the text of a job file, with comments beside the lines to look at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import yaml

from scoring.drafting.contract import DraftInput
from scoring.drafting.draft import Draft
from scoring.errors import quoted
from scoring.job.schedule import FITTING

_COLUMN_OF_COMMENTS = 44
_COMMENT_CHARACTERS = 160


def job_text(draft: Draft) -> str:
    """Return the job file of ``draft``."""
    return "\n".join(line.rstrip() for line in _lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    for what in draft.left:
        yield f"# TODO: {quoted(what, 400)}"
    yield f"name: {_flow(draft.name)}"
    yield f'schedule: "{FITTING[draft.kind]}"'
    if draft.timezone != "UTC":
        yield f"timezone: {_flow(draft.timezone)}"
    yield f"start: {draft.start}"
    if draft.end is not None:
        yield f"end: {draft.end}"
    if draft.kind != "month":
        yield f"partition: {draft.kind}"
    yield "source:"
    yield f"  uri: {_double(draft.source_uri)}"
    if draft.date_column is not None:
        yield _with_comment(
            f"  date_column: {_flow(draft.date_column)}", "rows of other months are quarantined"
        )
    row_id = _flow(draft.row_id) if draft.row_id else "row_number"
    yield _with_comment(f"row_id: {row_id}", draft.row_id_comment)
    if draft.inputs:
        yield _with_comment("inputs:", draft.inputs_comment)
        for one in draft.inputs:
            yield _with_comment(f"  {_flow(one.name)}: {_flow(_config(one))}", one.comment)
    elif draft.inputs_comment:
        yield f"# inputs: {draft.inputs_comment}"
    yield from _model_lines(draft)
    if draft.scorer is not None:
        yield f"scorer: {_double(draft.scorer)}"
    output: dict[str, Any] = {"prediction": draft.prediction}
    if draft.probabilities:
        output["probabilities"] = draft.probabilities
    yield f"output: {_flow(output)}"
    yield f'destination: {{uri: "{{data}}/predictions/{draft.name}"}}'
    yield _with_comment(
        f"checks: {{max_quarantined_fraction: {_limit(draft.quarantined)}}}",
        (
            f"{draft.quarantined:.2%} of the sample's rows break the contract; "
            if draft.quarantined
            else ""
        )
        + "more than this stop the month",
    )


def _model_lines(draft: Draft) -> Iterator[str]:
    facts = draft.model
    if facts is None:
        return
    yield "model:"
    if facts.records and draft.scorer is None:
        yield _with_comment("  input: records", "a list of dicts, for its DictVectorizer")
    yield "  versions:"
    yield "    - version: v1"
    yield f"      uri: {_double(draft.model_uri)}"
    yield f"      in_force_from: {draft.start}"
    if facts.needs_format:
        yield f"      format: {facts.kind}"
    if facts.may_run_code and draft.trusted:
        yield f"      sha256: {facts.sha256}"
    elif facts.may_run_code:
        yield "      # TODO: a pickle runs code when it is loaded. If you trust this file:"
        yield f"      # sha256: {facts.sha256}"
    if facts.untrusted:
        trusted = f"trusted_types: {_flow(facts.untrusted)}"
        if draft.trusted:
            yield f"  {trusted}"
        else:
            yield "  # TODO: types that can run code when they are loaded. If you trust them:"
            yield f"  # {trusted}"
    if draft.files:
        yield "  files:"
    for file in draft.files:
        uri = f"    {file.name}: {{uri: {_double(file.uri)}"
        if file.may_run_code and not draft.trusted:
            yield f"{uri}}}  # TODO: if you trust this file, add sha256: {file.sha256}"
        else:
            yield f"{uri}, sha256: {file.sha256}}}"


def _config(one: DraftInput) -> dict[str, Any]:
    return one.config.model_dump(exclude_defaults=True)


def _limit(quarantined: float) -> float:
    """Return a limit with room above what the sample has."""
    return min(1.0, max(0.01, math.ceil(quarantined * 150) / 100))


def _with_comment(line: str, comment: str) -> str:
    return (
        f"{line:<{_COLUMN_OF_COMMENTS}} # {quoted(comment, _COMMENT_CHARACTERS)}"
        if comment
        else line
    )


def _flow(value: Any) -> str:
    """Return ``value`` in YAML on one line, with quotes where it needs them."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_flow(key)}: {_flow(v)}' for key, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str) and not value.isprintable():
        return _double(value)
    # Within a list, where more characters need quotes than in a line of its own.
    text = yaml.safe_dump([value], default_flow_style=True, width=math.inf, allow_unicode=True)
    return str(text).strip()[1:-1]


def _double(text: str) -> str:
    """Return a text in double quotes."""
    dumped = yaml.safe_dump(text, default_style='"', width=math.inf, allow_unicode=True)
    return str(dumped).strip()
