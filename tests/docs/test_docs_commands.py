"""Every command that the pages name exists, with the options that they name.

Commands are read by the programs' own parsers, so a page cannot name an unknown argument.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import takewhile

import pytest

from scoring.cli import main as cli
from tests.docs.pages import PAGES, REPOSITORY, Page

MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^(\w+) \?=", MAKEFILE, re.MULTILINE))
INCOMPLETE = "the following arguments are required"
OF_AIRFLOW_2 = ["airflow", "dags", "backfill"]  # the pages say what it is called now


@cache
def airflow_parser() -> argparse.ArgumentParser:
    from airflow.cli.cli_parser import get_parser

    return get_parser()


def commands_in(page: Page) -> Iterator[tuple[list[str], bool]]:
    """The commands of a page as words, and whether each has to be complete."""
    for block in page.blocks:
        if block.language == "sh":
            without_files = re.sub(
                r"<<'?(\w+)'?$.*?^\1$", "", block.text, flags=re.DOTALL | re.MULTILINE
            )
            for line in without_files.splitlines():
                if line.strip():
                    yield shlex.split(line, comments=True), True
    for span in page.spans:
        if re.match(r"(make|airflow|scoring|(\.venv/bin/)?python) -?\w", span):
            with contextlib.suppress(ValueError):  # a quotation mark that is left open
                yield shlex.split(span.replace("…", "")), False


COMMANDS = [
    pytest.param(words, complete, id=f"{page.name}: {shlex.join(words)[:70]}")
    for page in PAGES
    for words, complete in commands_in(page)
    if words != OF_AIRFLOW_2
]


@pytest.mark.parametrize(("words", "complete"), COMMANDS)
def test_command(words: list[str], complete: bool) -> None:
    program, *arguments = takewhile(lambda word: word != ">", words)
    program = program.removeprefix(".venv/bin/")
    if program == "make":
        for argument in arguments:
            variable, is_set, _ = argument.partition("=")
            assert variable in (VARIABLES if is_set else TARGETS), argument
    elif program == "airflow":
        parses(airflow_parser(), arguments, complete)
    elif program == "scoring":
        parses(cli._parser(), arguments, complete)
    elif program == "python" and arguments[:2] == ["-m", "scoring"]:
        parses(cli._parser(), arguments[2:], complete)
    elif program == "python" and arguments[:2] == ["-m", "pytest"]:
        assert all((REPOSITORY / a).exists() for a in arguments if "/" in a)
    elif program == "python" and arguments[0] == "-m":
        text = help_of(arguments[1])
        for argument in arguments[2:]:
            assert argument in text
    elif program == "python" and arguments[0] == "-c":
        compile(arguments[1], "README", "exec")
    elif program == "python" and arguments[0] != "-":
        assert (REPOSITORY / arguments[0]).is_file()


def parses(parser: argparse.ArgumentParser, arguments: list[str], complete: bool) -> None:
    """Fails where ``parser`` refuses ``arguments``, or finds them wanting if they are complete."""
    said, status = io.StringIO(), 0
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser.parse_args(arguments)
    except SystemExit as end:  # status 0: it has printed its help
        status = end.code
    assert status == 0 or (INCOMPLETE in said.getvalue() and not complete), said.getvalue()


@cache
def help_of(module: str) -> str:
    """What ``python -m MODULE --help`` prints, for its commands too."""
    command = [sys.executable, "-m", module]
    text = subprocess.run(
        [*command, "--help"], capture_output=True, text=True, cwd=REPOSITORY, check=True
    ).stdout
    for sub in re.findall(r"^    (\w+) ", text, re.MULTILINE):
        done = subprocess.run(
            [*command, sub, "--help"], capture_output=True, text=True, cwd=REPOSITORY
        )
        text += done.stdout
    return text


def test_single_options_exist() -> None:
    known = options_of(cli._parser())
    backfill = options_of(airflow_parser(), "backfill", "create")
    backfill |= options_of(airflow_parser(), "scoring")
    for page in PAGES:
        for span in page.spans:
            if span.startswith("--"):
                assert span.split()[0] in known | backfill, f"{page.name} names {span}"


def options_of(parser: argparse.ArgumentParser, *path: str) -> set[str]:
    """The options of a parser, and of its commands, or of the command at ``path``."""
    found = {option for action in parser._actions for option in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                if not path or name == path[0]:
                    found |= options_of(sub, *path[1:])
    return found


def test_the_commands_of_the_shell_are_all_in_the_pages() -> None:
    text = "\n".join(page.text for page in PAGES)
    (commands,) = [a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for name in commands.choices:
        assert re.search(rf"(python -m |`|/|^)scoring {name}\b", text, re.MULTILINE), name


def test_make_targets_are_documented_in_the_pages() -> None:
    text = "\n".join(page.text for page in PAGES)
    for target in TARGETS - {"help"}:
        assert f"make {target}" in text, target
