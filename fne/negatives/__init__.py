"""Which negatives an anchor is trained against: one small file per strategy, density and memory."""
