"""What leaves the house: a study as one documented bundle, and two of them side by side."""
