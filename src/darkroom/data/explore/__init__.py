"""Figures and a card of the data."""
