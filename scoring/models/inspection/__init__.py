"""What a model file would import and call, read without loading any of it."""
