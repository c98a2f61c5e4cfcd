"""What ``airflow --help`` shows of the command group, without importing what the commands need."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command


def commands() -> list[CLICommand]:
    """Return the command group, as the provider's ``cli`` asks for it."""
    return [
        GroupCommand(
            name="scoring",
            help="Score partitions again by their keys",
            subcommands=[
                ActionCommand(
                    name="backfill",
                    help="Create backfills for partitions, by their keys",
                    description="Creates Airflow's own backfills for the partitions of a job. Those "
                    "that are scored already are scored again, by the job's policy or by the "
                    "version that is given.",
                    func=lazy_load_command("scoring_airflow.cli.backfill.command"),
                    args=_BACKFILL,
                )
            ],
        )
    ]


_BACKFILL = (
    Arg(("dag_id",), metavar="JOB", help="the job, which is the id of its Dag"),
    Arg(
        ("partitions",),
        metavar="PARTITIONS",
        nargs="+",
        help="keys such as 2013-05, or ranges: 2013-02..2013-06",
    ),
    Arg(("--missing",), action="store_true", help="only those that are not published"),
    Arg(
        ("--stale",),
        action="store_true",
        help="only those that would come out otherwise: another model version, source or job",
    ),
    Arg(("--failed",), action="store_true", help="only those whose last run has failed"),
    Arg(
        ("--model-version",),
        metavar="V",
        default=None,
        help="score with this version, overriding the job's policy",
    ),
    Arg(
        ("--wait",),
        action="store_true",
        help="show the progress of each partition, and fail if one of them fails",
    ),
    Arg(("--dry-run",), action="store_true", help="list the partitions, and create nothing"),
)
