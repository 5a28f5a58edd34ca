"""How a model behaves beyond the test images: corrupted and foreign ones, explanations, cost."""
