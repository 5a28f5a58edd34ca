"""A table of projects of every kind, for reports of which every sentence must be true."""

from pathlib import Path
from typing import Any

from darkroom.foundations import files
from tests import factories
from tests.test_stage_evaluate import run as evaluate

MANY = [f"class {number:03}" for number in range(200)]
CASES: dict[str, dict[str, Any]] = {
    "scratch": {"networks": ("small", "large"), "noise": 120},
    "one probe": {"networks": ("mobilenet_v2",), "methods": ("probe",), "image_size": 96, "per_class": 20},
    "probes": {"networks": ("mobilenet_v2", "resnet18"), "methods": ("probe", "probe"), "per_class": 30, "noise": 120},
    "finetuned": {"networks": ("tuned", "large"), "methods": ("finetuned", "scratch")},
    "start": {"networks": ("begun", "probed"), "methods": ("start", "probe")},
    "two classes": {"classes": ("cat", "dog"), "networks": ("only",), "per_class": 160},
    "200 classes": {"classes": MANY, "networks": ("small", "large"), "per_class": 5, "noise": 20},
    "uneven": {"networks": ("small", "large"), "per_class": (400, 60, 20), "noise": 120},
    "tiny": {"networks": ("only",), "per_class": 5, "noise": 120},
}


ROBUSTNESS = {
    "images": 20,
    "clean_accuracy": 0.95,
    "corruptions": {"JPEG": 0.9, "blur": 0.55},
    "mean_corruption_accuracy": 0.725,
    "mean_corruption_accuracy_low": 0.6,
    "mean_corruption_accuracy_high": 0.8,
}


def write(top: Path, case: str) -> Path:
    """Write the project of a case with its evaluation; return `top`."""
    factories.write_project(top, **CASES[case])
    if case != "tiny":  # as with `robustness.images: 0`
        files.write_json(top / "plots" / "robustness" / "summary.json", ROBUSTNESS)
    evaluate(top)
    return top
