"""Sentences: what was found, in words, from numbers that stand in results."""
