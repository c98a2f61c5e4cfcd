"""Rows that are scored on request, and the proof that they get the bits that batches publish."""
