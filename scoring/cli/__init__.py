"""The shell command ``python -m scoring``: one module for each command."""
