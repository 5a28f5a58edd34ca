"""Documents about the results: this package reads results and computes none."""
