"""What the months should be: `python -m devstack.containers.on_laptop FOLDER RESULT` scores them
without Airflow.

FOLDER gets flights and models where they are missing, and the predictions; RESULT is JSON for
`comparison`.
"""

import hashlib
import json
import sys
from pathlib import Path

from devstack.home import REPOSITORY
from examples.__main__ import main as make_examples

JOB = "flight_delay"


def score(data: Path) -> dict[str, dict[str, object]]:
    """Rows and sha256 of each month's predictions, from the bytes of the file."""
    from scoring import PartitionContext, load_job, score_partition
    from scoring.job.partitions import partitions_between

    job_file = load_job(REPOSITORY / "dags" / "jobs" / f"{JOB}.yaml")
    job = job_file.job
    if job.last_partition is None:
        raise ValueError(f"the job {JOB} has no end")
    found: dict[str, dict[str, object]] = {}
    for partition in partitions_between(job.first_partition, job.last_partition):
        roots = job_file.roots(str(data))
        context = PartitionContext(job_file, partition, roots, attempt="on-the-laptop")
        manifest = score_partition(context, {"by": "make containers"})
        digest = hashlib.sha256(Path(manifest.output.uri).read_bytes()).hexdigest()
        found[partition.key] = {"rows": manifest.rows.scored, "sha256": digest}
    return found


def main(arguments: list[str]) -> int:
    """Return the exit status."""
    data, result = map(Path, arguments)
    status = make_examples(["--data", str(data)])
    if status == 0:
        result.write_text(json.dumps(score(data)))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
