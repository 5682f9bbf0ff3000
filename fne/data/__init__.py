"""Data: the embedded world, corpora and their downloads, manifests, ground truth. No torch in this room."""
