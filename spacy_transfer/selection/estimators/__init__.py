"""How well a head would do on given rows, without training the backbone: one estimator a file."""
