"""What is to be run: base, variants, studies, merged and checked; digests, paths. Imports no torch."""
