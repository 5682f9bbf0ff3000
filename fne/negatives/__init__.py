"""Which negatives an anchor is trained against: the memory queue, the densities, and one small file per strategy."""
