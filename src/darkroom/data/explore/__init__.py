"""Figures and a data card."""
