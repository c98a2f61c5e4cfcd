"""The services beside Airflow, each a real one from PyPI: Postgres, Valkey, an S3 service, and the
ports they take.
"""
