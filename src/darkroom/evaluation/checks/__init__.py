"""Checks beyond the test images: corrupted and out-of-distribution images, explanations and cost."""
