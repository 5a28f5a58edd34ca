"""From packed images to a split without copies across it."""
