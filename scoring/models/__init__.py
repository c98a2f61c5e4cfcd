"""Models: which version scores a partition, how its file is loaded, and what predicts."""
