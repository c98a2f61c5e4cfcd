"""Pages in Airflow's web UI that show the predictions: which partition, by which model, how many rows.

``app`` puts the pages together. A page is a module with a ``router`` and a template of its name.
Everything here is imported by the API server only, but for ``urls``.
"""
