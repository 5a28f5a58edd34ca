"""From a source of pictures to a packed, split, described data set."""
