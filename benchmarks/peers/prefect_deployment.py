"""The same months with a deployment of Prefect: a flow run for each month, which a worker starts.

python prefect_deployment.py deploy POOL
python prefect_deployment.py backfill MODELS FLIGHTS TARGET MONTH [MONTH ...]

A server and a worker of POOL (of type process) run meanwhile. ``backfill`` prints the moment at which
the last flow run was completed.
"""

import sys
import time
from pathlib import Path

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.deployments import run_deployment
from prefect_flow import extract, score, upload

DEPLOYMENT = "months"
DEADLINE_SECONDS = 600
JOB = {
    # Left blank, which is the default, each flow run is three processes that import Prefect: one that
    # supervises, one that finds out where the flow is, and the one that runs it.
    "command": f"{sys.executable} -m prefect.engine",
    # Four flow runs at a time have more threads than cores, and OpenMP's wait actively.
    "env": {"OMP_NUM_THREADS": "1"},
}


@flow
def flight_delay_month(models, flights, target, month):
    Path(target).mkdir(parents=True, exist_ok=True)
    upload(score(extract(flights, month), models, month), target, month)


def deploy(pool):
    source = flow.from_source(
        source=str(Path(__file__).parent), entrypoint=f"{Path(__file__).name}:flight_delay_month"
    )
    source.deploy(name=DEPLOYMENT, work_pool_name=pool, job_variables=JOB, print_next_steps=False)


def backfill(models, flights, target, *months):
    where = {"models": models, "flights": flights, "target": target}
    name = f"flight-delay-month/{DEPLOYMENT}"
    # One after the other: of eleven requests at once, the server answered some with 503 for two minutes
    # on a busy machine.
    ids = [
        run_deployment(name, parameters={**where, "month": month}, timeout=0).id for month in months
    ]
    ended = wait(ids)
    for run in ended:
        if not run.state.is_completed():
            sys.exit(f"{run.name}: {run.state}")
    print(max(run.end_time for run in ended).timestamp())


def wait(ids):
    """Return the flow runs when all have ended; the moments are theirs, not those of these looks."""
    these = FlowRunFilter(id=FlowRunFilterId(any_=ids))
    deadline = time.monotonic() + DEADLINE_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            runs = client.read_flow_runs(flow_run_filter=these)
            if len(runs) == len(ids) and all(run.state.is_final() for run in runs):
                return runs
            time.sleep(0.5)
    sys.exit(f"not all flow runs have ended within {DEADLINE_SECONDS} s")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "deploy":
        deploy(*arguments)
    else:
        backfill(*arguments)
