"""From embeddings to ranks (torch), and from ranks to metrics (numpy)."""
