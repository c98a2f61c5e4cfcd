"""Job files: their model and loader.  Airflow imports this package whenever it parses a Dag file."""
