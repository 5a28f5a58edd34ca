"""Where a model fails."""
