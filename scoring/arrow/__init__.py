"""Arrow columns on their way from a source to the model: cast, encoded, hashed."""
