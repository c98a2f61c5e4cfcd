"""Databases that answer the query of a SQL source."""
