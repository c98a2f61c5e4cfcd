"""Gates: checks on a whole partition, which is published only if it passes all of them.

A gate compares one figure with a limit of the job's ``checks``, whose name it has.
Another gate is another function in ``GATES``.
"""

from __future__ import annotations

from collections.abc import Callable

from scoring.contract.advice import TOLERATE
from scoring.contract.tally import Tally
from scoring.contract.verdict import Verdict
from scoring.errors import ContractError
from scoring.job.partitions import Partition
from scoring.job.schema import Job


def min_rows(tally: Tally, job: Job) -> tuple[Verdict, str]:
    """Check that at least ``min_rows`` rows came in."""
    checks = job.checks
    passed = tally.rows_in >= checks.min_rows
    verdict = Verdict(gate="min_rows", figure=tally.rows_in, limit=checks.min_rows, passed=passed)
    return verdict, (
        f"{tally.rows_in:,} rows came in, fewer than checks.min_rows, {checks.min_rows:,}. Check "
        "whether the source is complete; if this is a normal count, lower checks.min_rows"
    )


def max_quarantined_fraction(tally: Tally, job: Job) -> tuple[Verdict, str]:
    """Check that at most ``max_quarantined_fraction`` of the rows are quarantined."""
    limit = job.checks.max_quarantined_fraction
    fraction = tally.rows_quarantined / tally.rows_in if tally.rows_in else 0.0
    verdict = Verdict(
        gate="max_quarantined_fraction", figure=fraction, limit=limit, passed=fraction <= limit
    )
    return verdict, (
        f"{tally.rows_quarantined:,} of {tally.rows_in:,} rows ({fraction:.2%}) break "
        f"the contract, more than checks.max_quarantined_fraction, {limit:.2%}:\n"
        f"{tally.summary(advise_on=job)}\n{TOLERATE}"
    )


GATES: list[Callable[[Tally, Job], tuple[Verdict, str]]] = [
    min_rows,
    max_quarantined_fraction,
]
"""Each returns its verdict, and what to say if it has failed."""


def check_gates(
    tally: Tally, job: Job, partition: Partition, at_least: bool = False
) -> list[Verdict]:
    """Return the verdicts of all gates; ContractError, which says why, if one of them has failed.

    ``at_least``: all rows have come in, and further ones may be quarantined.
    """
    verdicts = []
    for gate in GATES:
        verdict, problem = gate(tally, job)
        if not verdict.passed:
            prefix = "at least " if at_least else ""
            raise ContractError(f"{job.name} {partition.key}: {prefix}{problem}")
        verdicts.append(verdict)
    return verdicts
