"""Augmentation transforms, one file per kind."""
