"""The proof that a service answers with the bits of what is published."""
