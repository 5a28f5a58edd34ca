"""Reading archives of images without unpacking them to disk."""
