"""Sources: the rows of a partition, batch by batch, from files or from a database."""
