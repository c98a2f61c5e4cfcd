"""A first job file, drafted from a model, a sample of rows or a notebook: ``scoring init``."""
