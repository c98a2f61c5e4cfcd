"""The one error of this package; its message is for the person at the terminal and names the
remedy.
"""


class DevstackError(Exception):
    """Something on this machine keeps `make run` or `make stack` from working."""
