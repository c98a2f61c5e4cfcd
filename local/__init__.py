"""Airflow on this machine: what `make run` starts, and what keeps it alive until Ctrl-C.

Nothing here is needed by the library or in production; `local/environment.py` describes Airflow's settings and is
what other ways of running it build upon.
"""
