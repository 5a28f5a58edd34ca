"""Scores of predictions, with confidence intervals."""
