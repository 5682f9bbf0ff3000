"""What is shown of results: figures, tables, picks, sentences and the page. Computes nothing and imports no torch."""
