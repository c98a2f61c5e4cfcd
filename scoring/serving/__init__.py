"""The same jobs as a web service: requests are answered by the code that scores partitions."""
