"""The one error of this package: a text for the person at the terminal, which says what would be right."""


class DevstackError(Exception):
    """Something on this machine is not as `make run` needs it."""
