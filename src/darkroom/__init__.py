"""Darkroom: labelled images in, an honest report and a served classifier out."""
