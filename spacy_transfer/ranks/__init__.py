"""Training by many processes that torch's launcher starts: each, a rank, learns from its share of every batch."""
