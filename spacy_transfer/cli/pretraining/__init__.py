"""Commands about raw texts: pretrained files, sources, fresh transformers and word vectors."""
