"""Data: the embedded world, corpora in Karpathy's schema, manifests and ground truth. No torch in this room."""
