"""Estimators of how good rows are for a head, without training the backbone: one a file."""
