"""The shell command ``scoring``: one module for each command."""
