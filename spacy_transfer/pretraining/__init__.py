"""Pretraining: objectives for `spacy pretrain`, and what else makes a backbone from raw texts."""
