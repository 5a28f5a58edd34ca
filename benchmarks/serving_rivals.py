"""The services that benchmarks/serving.py compares with, written as their own documents show: Flask and LitServe.

    RIVAL=NETWORK:SIZE python -m gunicorn -w 2 -b 127.0.0.1:PORT 'benchmarks.serving_rivals:flask_app()'
    RIVAL=MODEL.onnx:SIZE python -m benchmarks.serving_litserve PORT

Both do what ours does: decode the upload, resize it, answer with all ten classes as JSON. Flask runs the
same network in torch, LitServe the same ONNX file in onnxruntime, each with one thread a worker.
"""

import os
from typing import Any

import numpy as np
from PIL import Image

CLASSES = [f"class {number}" for number in range(10)]


def network(name: str, size: int) -> Any:
    """Return the network `name` for images of `size` pixels with weights from seed 0, normalisation included."""
    import torch

    from darkroom.training.networks.network import Network, build

    torch.manual_seed(0)
    if name == "mobilenet_v2":
        from torchvision.models import mobilenet_v2

        model = mobilenet_v2(num_classes=len(CLASSES))
    else:
        model = build({"architecture": name, "width": 32}, len(CLASSES), size, 0)
    whole = Network(model, (0.5,) * 3, (0.25,) * 3)
    # One batch teaches the norms what random weights make of noise. Else values fade from layer to layer, until the
    # processor computes with numbers that it is slow at, and all classes are as likely.
    for layer in whole.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        whole.train()(torch.randint(0, 256, (8, size, size, 3), dtype=torch.uint8))
    return whole.eval()


def pixels(file: Any, size: int) -> Any:
    """Return the upload as uint8 of shape (1, size, size, 3), in the way that most services do it."""
    image = Image.open(file).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square)[np.newaxis]


def answer(probabilities: Any) -> dict[str, Any]:
    """Return all classes, likeliest first, as the services give them."""
    order = np.argsort(-probabilities)
    return {"labels": [{"label": CLASSES[place], "probability": float(probabilities[place])} for place in order]}


def flask_app() -> Any:
    """Return a Flask application that answers POST /predict with a file in the field `images`."""
    import torch
    from flask import Flask, jsonify, request

    name, size = os.environ["RIVAL"].split(":")
    torch.set_num_threads(1)
    model = network(name, int(size))
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> Any:
        images = [pixels(file, int(size)) for file in request.files.getlist("images")]
        with torch.inference_mode():
            logits = model(torch.from_numpy(np.concatenate(images)))
            probabilities = torch.softmax(logits, 1).numpy()
        return jsonify(predictions=[answer(row) for row in probabilities])

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    return app
