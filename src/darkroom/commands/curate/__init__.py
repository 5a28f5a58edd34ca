"""The `darkroom curate` command: a local page on which a person decides about labels."""
