"""The contract: which rows may be scored, why the others may not, and when a partition is refused."""
