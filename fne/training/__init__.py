"""One engine: batches, steps, validation, diagnostics, checkpoints, and the tuning protocol."""
