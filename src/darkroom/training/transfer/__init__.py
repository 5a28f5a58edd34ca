"""Training from pretrained weights."""
