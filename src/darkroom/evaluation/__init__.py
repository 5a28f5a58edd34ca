"""From predictions to evaluations, figures and the report."""
