"""What a person types beside dvc and bentoml."""
