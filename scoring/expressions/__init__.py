"""SQL expressions over one row: the columns that a job derives, and the rows that it leaves out."""
