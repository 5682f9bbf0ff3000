"""Retrieval: ranks counted from embeddings (torch), then metrics and protocols from ranks alone (numpy)."""
