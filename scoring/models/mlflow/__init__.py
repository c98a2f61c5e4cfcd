"""MLflow models: folders with an MLmodel file, on disk, in S3, or in the registry of a server."""
