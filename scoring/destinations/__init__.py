"""Destinations: where predictions are published, and how a partition is replaced as a whole."""
