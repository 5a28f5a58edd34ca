"""Analysis of failures: mistakes, label issues and weak slices."""
