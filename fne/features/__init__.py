"""Frozen encoders: pretraining of the tiny ones, feature extraction, and the memory-mapped feature store."""
