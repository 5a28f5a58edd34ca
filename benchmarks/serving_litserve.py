"""The LitServe service that benchmarks/serving.py compares with; see benchmarks/serving_rivals.py."""

import io
import os
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime

from benchmarks.serving_rivals import answer, pixels


class Api(litserve.LitAPI):
    """Decodes, runs an ONNX file and answers, in a worker of its own."""

    def setup(self, device: str) -> None:
        """Open the model with one thread."""
        path, size = os.environ["RIVAL"].split(":")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.size = int(size)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def]  # LitServe reads the annotation
        """Return the upload's pixels."""
        return pixels(io.BytesIO(request["images"].file.read()), self.size)

    def predict(self, images: Any) -> Any:
        """Return probabilities."""
        logits = self.session.run(["logits"], {"images": images})[0][0]
        exponentials = np.exp(logits - logits.max())
        return exponentials / exponentials.sum()

    def encode_response(self, probabilities: Any) -> Any:
        """Return what becomes JSON."""
        return {"predictions": [answer(probabilities)]}


if __name__ == "__main__":
    api = Api(api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, healthcheck_path="/readyz")
    options = {"num_api_servers": 2, "generate_client_file": False, "log_level": "warning"}
    server.run(host="127.0.0.1", port=int(sys.argv[1]), **options)
