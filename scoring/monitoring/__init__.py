"""What the inputs and predictions of a partition look like, in figures that merge by addition."""
