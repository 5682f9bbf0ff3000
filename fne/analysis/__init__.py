"""Numbers in, numbers out: intervals, tests, rates, calibration scores, components of variance. Writes no files."""
