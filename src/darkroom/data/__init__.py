"""From a source of images to a packed, split, described data set."""
