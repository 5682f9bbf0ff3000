"""Losses: what is minimised once the negatives of an anchor are chosen."""
