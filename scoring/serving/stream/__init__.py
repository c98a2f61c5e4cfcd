"""A topic of Kafka in, predictions out: each job is a consumer group of its own."""
