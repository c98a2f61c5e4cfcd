"""This machine's installation of Airflow: its addresses, its settings, and the files that pass them
on.
"""

import json
import os
import shlex
import sys
from pathlib import Path

from devstack.airflow.environment import Installation, airflow_environment
from devstack.home import Home
from devstack.secrets import Secrets, write_private
from devstack.services.ports import HOST, port_of_ui

UI_USER = "admin"
MIN_TASKS_AT_ONCE = 4  # even on two cores: tasks spend part of their time waiting for Airflow


def describe(
    home: Home, dags: Path, port: int | None, secrets: Secrets, database_url: str
) -> Installation:
    """Return the settings of this call; ports may differ from call to call. With `port` None, a
    free one is chosen.
    """
    api_port = port_of_ui(port)
    return Installation(
        airflow_home=str(home.airflow),
        dags_folder=str(dags),
        data=str(home.data),
        database_url=database_url,
        api_host=HOST,
        api_port=api_port,
        api_url=f"http://{HOST}:{api_port}",
        passwords_file=str(home.passwords),
        fernet_key=secrets.fernet_key,
        jwt_secret=secrets.jwt_secret,
        api_secret_key=secrets.api_secret_key,
        tasks_at_once=max(MIN_TASKS_AT_ONCE, os.cpu_count() or 1),
    )


def process_environment(installation: Installation) -> dict[str, str]:
    """Return the environment of Airflow's processes: this shell's, without settings of another
    Airflow.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_")}
    return {**inherited, **airflow_environment(installation)}


def write_files(home: Home, installation: Installation, secrets: Secrets) -> None:
    """Write the UI's password file, and the shell file that gives a user the `airflow` command."""
    home.airflow.mkdir(parents=True, exist_ok=True)
    # Airflow would write its defaults here, from several processes at once.
    (home.airflow / "airflow.cfg").write_text("# The settings are environment variables.\n")
    write_private(home.passwords, json.dumps({UI_USER: secrets.ui_password}) + "\n")
    variables = airflow_environment(installation)
    if installation.object_store is not None:
        variables |= installation.object_store.shell_environment
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    programs = shlex.quote(str(Path(sys.executable).parent))
    write_private(
        home.shell_environment,
        "# Written by `make run` or `make stack`: the settings of its Airflow. Read it into a "
        "shell with\n"
        f"#     . {home.shell_environment}\n"
        + "\n".join(lines)
        + f'\nexport PATH={programs}:"$PATH"\n',
    )
