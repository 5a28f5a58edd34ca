"""Packaging of a model, which runs once."""
