"""`python -m devstack stop`: end what `make run` and `make stack` have started, however they ended
themselves.
"""

from devstack.commands.terminal import Terminal
from devstack.home import Home
from devstack.supervise import processes
from devstack.supervise.lock import taken_over


def stop(home: Home, terminal: Terminal) -> int:
    """Return the exit status."""
    for each in (home, home.stack):
        if not each.root.is_dir():
            continue
        with taken_over(each.lock):
            for name in processes.Record(each.processes).end_leftovers():
                terminal.line(f"ended the {name}")
    return 0
