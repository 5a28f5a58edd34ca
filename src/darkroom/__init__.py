"""Darkroom: from labelled images to an evaluated, documented and served classifier."""
