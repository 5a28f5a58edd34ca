"""From packed images to a split that keeps copies together."""
