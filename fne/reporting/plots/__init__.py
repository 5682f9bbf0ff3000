"""One small module per figure of the report."""
