"""Gates: checks on a whole partition, which is published only if it passes all of them.

A gate compares one figure with a limit of the job's ``checks``, whose name it has.
Another gate is another function in ``GATES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from scoring.contract.advice import TOLERATE
from scoring.contract.tally import Tally
from scoring.contract.verdict import Verdict
from scoring.errors import ContractError
from scoring.job.partitions import Partition
from scoring.job.schema import Job


def min_rows(tally: Tally, job: Job) -> Iterator[tuple[Verdict, str]]:
    """Check that at least ``min_rows`` rows are to be scored."""
    least, rows = job.checks.min_rows, tally.rows_wanted
    left_out = f", besides {tally.rows_left_out:,} that are left out" if tally.left_out else ""
    yield (
        Verdict(gate="min_rows", figure=rows, limit=least, passed=rows >= least),
        f"{rows:,} rows came in{left_out}, fewer than checks.min_rows, {least:,}. Check "
        "whether the source is complete; if this is a normal count, lower checks.min_rows",
    )


def max_quarantined_fraction(tally: Tally, job: Job) -> Iterator[tuple[Verdict, str]]:
    """Check that at most ``max_quarantined_fraction`` of the rows are quarantined."""
    limit, rows = job.checks.max_quarantined_fraction, tally.rows_wanted
    fraction = tally.rows_quarantined / rows if rows else 0.0
    yield (
        Verdict(
            gate="max_quarantined_fraction", figure=fraction, limit=limit, passed=fraction <= limit
        ),
        f"{tally.rows_quarantined:,} of {rows:,} rows ({fraction:.2%}) break "
        f"the contract, more than checks.max_quarantined_fraction, {limit:.2%}:\n"
        f"{tally.summary(advise_on=job)}\n{TOLERATE}",
    )


def max_fraction(tally: Tally, job: Job) -> Iterator[tuple[Verdict, str]]:
    """Check that no reason of ``max_fraction`` is given for more rows than it may be."""
    for reason, limit in job.checks.max_fraction.items():
        count, fraction = tally.fraction_of(reason)
        gate, passed = f"max_fraction.{reason}", fraction <= limit
        yield (
            Verdict(gate=gate, figure=fraction, limit=limit, passed=passed),
            f"{count:,} rows ({fraction:.2%}) have the reason {reason}, more than checks.{gate}, "
            f"{limit:.2%}. Look at these rows in the source; if this is normal, raise the limit",
        )


GATES: list[Callable[[Tally, Job], Iterator[tuple[Verdict, str]]]] = [
    min_rows,
    max_quarantined_fraction,
    max_fraction,
]
"""Each yields its verdicts, and what to say if one has failed."""


def check_gates(
    tally: Tally, job: Job, partition: Partition, at_least: bool = False
) -> list[Verdict]:
    """Return the verdicts of all gates; ContractError, which says why, if one of them has failed.

    ``at_least``: all rows have come in, and further ones may be quarantined.
    """
    verdicts = []
    for verdict, problem in chain.from_iterable(gate(tally, job) for gate in GATES):
        if not verdict.passed:
            prefix = "at least " if at_least else ""
            raise ContractError(f"{job.name} {partition.key}: {prefix}{problem}")
        verdicts.append(verdict)
    return verdicts
