"""Ensembles of trees, evaluated by code of our own with the bits of scikit-learn's (decision 28)."""
