"""A folder for a paper: tables, figures, a methods paragraph, references, a statement of the data."""
