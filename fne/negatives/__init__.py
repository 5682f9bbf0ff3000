"""Negatives: the memory queue, the densities and posterior, and one small file per selection strategy."""
