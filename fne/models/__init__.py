"""The trained part: projection heads with a replicate axis, and their momentum copies."""
