"""From packed images to candidates."""
