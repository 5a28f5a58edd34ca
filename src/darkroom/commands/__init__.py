"""The `darkroom` command-line interface."""
