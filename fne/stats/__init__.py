"""Statistics over seeds and images: intervals, paired tests, multiplicity, equivalence, and the files of a
study."""
