"""What is known of the partitions: how inputs and predictions look, which are published, which stale."""
