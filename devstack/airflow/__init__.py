"""One installation of Airflow: its settings, its processes, its REST API, and how far its runs are."""
