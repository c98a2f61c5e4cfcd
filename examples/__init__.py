"""Real data and two real models for the job `flight_delay`: what `make data` runs."""
