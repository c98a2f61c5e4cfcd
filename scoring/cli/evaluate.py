"""``evaluate``: how wrong the predictions of published partitions were, once the truth is known."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import ScoringError, SourceMissingError

if TYPE_CHECKING:
    from scoring.job.loader import JobFile
    from scoring.job.partitions import Partition
    from scoring.monitoring.evaluation import Evaluation
    from scoring.pipeline.context import PartitionContext

HELP = "compare published predictions with what turned out to be true"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    parser.add_argument(
        "partition",
        nargs="*",
        help="partitions and ranges, such as 2013-02..2013-05 (default: all that are published and "
        "have actuals)",
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.context import PartitionContext

    job_file = shared.job_file(options)
    job = job_file.job
    roots = job_file.roots(options.data)
    context = PartitionContext(job_file, job.first_partition, roots, "evaluate")
    wanted = job.partitions_to_score(options.partition) or _published(context)
    found, status = _evaluated(context, wanted, named=bool(options.partition))
    _print(job_file, found, options.json)
    return status


def _published(context: PartitionContext) -> list[Partition]:
    return [context.job.parse(m.partition) for m in context.publisher.all_published()]


def _evaluated(
    context: PartitionContext, wanted: list[Partition], named: bool
) -> tuple[list[Evaluation], int]:
    """Evaluate one after the other; an error of one does not stop the others.

    Partitions that were not ``named`` need not have actuals yet.
    """
    from scoring.pipeline.evaluate import evaluate, evaluate_challengers

    found: list[Evaluation] = []
    status = 0
    for partition in wanted:
        one = replace(context, partition=partition)
        try:
            evaluation = evaluate(one)
            found += [evaluation, *evaluate_challengers(one)]
        except SourceMissingError as error:
            if named:
                status = status or error.exit_status
            print(f"{'error' if named else 'no actuals yet'}: {error}", file=sys.stderr)
        except ScoringError as error:
            if len(wanted) == 1:
                raise
            status = status or error.exit_status
            print(f"error: {one.name}: {error}", file=sys.stderr)
        else:
            if warning := evaluation.warning:
                print(f"warning: {one.name}: {warning}", file=sys.stderr)
    return found, status


def _print(job_file: JobFile, found: list[Evaluation], as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    if not found:
        print(f"{job_file.job.name}: nothing to evaluate")
        return
    output.table_of([_facts(one) for one in found], as_json=False)
    if len({one.partition for one in found}) == 1:
        for one in found:
            _print_calibration(one, f" by {one.model_version}" if len(found) > 1 else "")


def _print_calibration(one: Evaluation, by: str) -> None:
    for of_class in one.classification.classes if one.classification else []:
        print(f"\n{of_class.column}, the probability of {of_class.label!r}{by}:")
        output.table_of([_bin(each.model_dump()) for each in of_class.calibration], as_json=False)


def _facts(one: Evaluation) -> dict[str, Any]:
    return {
        "partition": one.partition,
        "model": f"{one.model_version} (challenger)" if one.challenger else one.model_version,
        "published": one.rows.published,
        "with actual": one.rows.with_actual,
        **{name: output.figure(value) for name, value in one.figures.items()},
    }


def _bin(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "probability": f"{facts['at_least']:.1f} to {facts['below']:.1f}",
        "rows": facts["rows"],
        "predicted": output.figure(facts["predicted"]),
        "actual": output.figure(facts["actual"]),
    }
