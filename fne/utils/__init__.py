"""What any room may use and what knows of none: errors, files, seeds, progress, the record of a run."""
