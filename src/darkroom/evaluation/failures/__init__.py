"""Analysis of failures: mistakes and weak slices."""
