"""From archives to one array of pixels."""
