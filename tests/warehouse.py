"""A real Postgres with rows to score, which sources of SQL ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from local import components, postgres, processes
from local.home import Home
from local.secrets import load_or_create
from local.supervisor import Supervisor

PASSWORD = "it's a pass/word\\with@marks"
"""It needs quoting wherever it goes, and is easily found where it should not be."""


@dataclass(frozen=True)
class Warehouse:
    database: postgres.Database

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.database.execute(statement)

    def connection(self, **extra: str) -> str:
        """The connection as Airflow writes them in a URI."""
        of = self.database
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in extra.items())
        return (
            f"postgres://{postgres.USER}:{quote(of.password, safe='')}@127.0.0.1:{of.port}/"
            f"{postgres.DATABASE}?{query}"
        )

    def with_password(self, password: str) -> Warehouse:
        return Warehouse(replace(self.database, password=password))

    def with_port(self, port: int) -> Warehouse:
        return Warehouse(replace(self.database, port=port))


@contextmanager
def started(folder: Path) -> Iterator[Warehouse]:
    home = Home(folder / "run")
    home.root.mkdir(parents=True)
    secrets = replace(load_or_create(home.secrets), database_password=PASSWORD)
    supervisor = Supervisor(processes.Record(home.processes), print)
    try:
        yield Warehouse(components.start_database(home, secrets, supervisor))
    finally:
        components.end(supervisor)
