"""From a source of images to a packed, split and described data set."""
