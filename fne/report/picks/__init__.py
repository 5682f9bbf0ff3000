"""Which picked negatives are shown, and the viewer that shows them."""
