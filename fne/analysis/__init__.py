"""Statistics that take arrays and give numbers: no files, no configuration."""
