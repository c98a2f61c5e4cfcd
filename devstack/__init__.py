"""Airflow and the services beside it on one machine, without containers: what `make run` and `make
stack` start.
"""
