"""The page of a study: what stands where, its pictures, its style and scripts."""
