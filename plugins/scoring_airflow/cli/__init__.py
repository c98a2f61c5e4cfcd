"""The command group ``airflow scoring``, which only Airflow's own command line imports."""
