"""One file per figure, its registry, and the style that all share."""
