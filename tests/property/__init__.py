"""Whatever is read: the outcome is a result, or one error that names the file. `FNE_EXAMPLES=10000` tries more."""
