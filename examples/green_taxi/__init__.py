"""The classic ride-duration job on months of New York's green taxis: a job in three small files."""
