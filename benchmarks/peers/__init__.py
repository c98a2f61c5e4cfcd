"""Other servers that answer with the predictions of a scikit-learn model, and what each is asked."""
