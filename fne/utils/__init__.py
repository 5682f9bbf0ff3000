"""What any package may use and what imports none of them: errors, files, seeds, progress, the record of a run."""
