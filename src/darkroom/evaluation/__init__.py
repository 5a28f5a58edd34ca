"""Evaluation of the candidates: scores, failures, checks and figures."""
