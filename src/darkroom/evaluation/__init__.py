"""From predictions to judgements, figures and the report."""
