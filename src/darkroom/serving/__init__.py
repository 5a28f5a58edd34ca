"""From a judged candidate to a service."""
