"""Data: the embedded world, corpora in Karpathy's schema, manifests, ground truth. No torch in this room."""
