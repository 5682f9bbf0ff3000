"""What was picked, whether it was truly negative, and whether the posterior is calibrated."""
