"""Job files: what they may say and how they are read.  Imported at every Dag parse, so nothing heavy."""
