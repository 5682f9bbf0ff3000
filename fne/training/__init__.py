"""One engine: batches, steps, validation, diagnostics, checkpoints. Knows no strategy, loss or study by name."""
