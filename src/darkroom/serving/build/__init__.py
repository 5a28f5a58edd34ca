"""What happens once, when a model is packaged."""
