"""``https://``: files that anyone may fetch, to read only."""
