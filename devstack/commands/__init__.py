"""What `python -m devstack` does, one module per command, and what the person at the terminal sees
of it.
"""
