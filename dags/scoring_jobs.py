"""One Airflow Dag for each job file in ``dags/jobs``.  A new job is a new file, never a new line
here.
"""

from scoring_airflow import load_jobs

load_jobs("jobs")
