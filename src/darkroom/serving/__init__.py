"""From an evaluated candidate to a service."""
