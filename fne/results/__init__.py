"""What runs leave, read and checked: rows, records, bundles, references. Trains nothing and draws nothing."""
