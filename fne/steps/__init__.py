"""One file per rule and verb: each reads what earlier steps left, calls the rooms below, writes its files."""
