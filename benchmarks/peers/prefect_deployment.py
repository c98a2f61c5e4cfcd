"""The same months with a deployment of Prefect: a flow run for each month, which a worker starts.

python prefect_deployment.py deploy POOL
python prefect_deployment.py backfill MODELS FLIGHTS TARGET MONTH [MONTH ...]

A server and a worker of POOL (of type process) run meanwhile. ``backfill`` prints the moment at which
the last flow run was completed.
"""

import asyncio
import sys
from pathlib import Path

from prefect import flow
from prefect.deployments import run_deployment
from prefect.flow_runs import wait_for_flow_run
from prefect_flow import extract, score, upload

DEPLOYMENT = "months"
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


async def backfill(models, flights, target, *months):
    where = {"models": models, "flights": flights, "target": target}
    runs = await asyncio.gather(
        *(
            run_deployment(
                f"flight-delay-month/{DEPLOYMENT}",
                parameters={**where, "month": month},
                timeout=0,  # does not wait for it
            )
            for month in months
        )
    )
    ended = await asyncio.gather(*(wait_for_flow_run(run.id) for run in runs))
    for run in ended:
        if not run.state.is_completed():
            sys.exit(f"{run.name}: {run.state}")
    print(max(run.end_time for run in ended).timestamp())


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "deploy":
        deploy(*arguments)
    else:
        asyncio.run(backfill(*arguments))
