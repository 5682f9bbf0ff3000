"""Which picked negatives and which ranked queries are shown, and the viewers that show them."""
