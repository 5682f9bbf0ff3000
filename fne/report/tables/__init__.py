"""One file per table, its registry, and how a table is rendered."""
