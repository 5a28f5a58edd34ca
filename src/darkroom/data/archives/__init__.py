"""Archives of images: what they hold, read without unpacking them to disk."""
