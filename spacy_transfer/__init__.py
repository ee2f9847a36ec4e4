"""spacy-transfer: whatever was pretrained becomes one row per token; whatever must be learned is a head.

Nothing heavy is imported here: every registered function has an entry point in pyproject.toml, so spaCy
finds it without this package (or torch, or transformers) being imported first.
"""

__version__ = "0.1.0"
