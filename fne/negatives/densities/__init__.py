"""Families of densities of positives and of negatives, one small file each; the posterior follows by Bayes' rule."""
