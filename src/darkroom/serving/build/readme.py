"""The README of a Bento."""

from pathlib import Path

from darkroom import candidate
from darkroom.markdown import text
from darkroom.serving import served
from darkroom.serving.settings import Precision

_TEMPLATE = """# Darkroom: {name}

An image classifier as a [BentoML](https://docs.bentoml.com) service. It distinguishes {count} classes: {classes}.
{accuracy}

Model {version}, Bento {bento}. The folder `src/models/served` contains the model, its card and its metrics;
`GET /info` returns them as well.{card} The service needs no torch and no GPU.

## Run it

With Python 3.11, 3.12 or 3.13, in this folder:

```sh
python -m venv .venv && . .venv/bin/activate
pip install --require-hashes -r env/python/requirements.txt
bentoml serve --do-not-track                      # http://localhost:3000, page at /ui
curl -F images=@one.png -F images=@two.jpg -F top_k=3 http://localhost:3000/predict
```

Configure it with `BENTOML_PORT=8000`, `BENTOML_HOST=127.0.0.1` (this machine only; the default is all interfaces) and
`BENTOML_CONFIG_OPTIONS='services.Classifier.workers=4'` (two processes by default). The service has no authentication:
if untrusted clients can reach it, put a proxy with authentication in front.

## As a container

```sh
docker build -t darkroom:{bento} -f env/docker/Dockerfile .
docker run --rm -p 3000:3000 darkroom:{bento}
```

`/livez` and `/readyz` are for probes, `/metrics` is for Prometheus, `/docs.json` describes the API, and `/` lets you
try it.
"""
_CARD = " Read `model_card.md` there before you rely on it."
_MOST = 20
"""Largest number of class names that are listed."""


def readme(served_folder: Path, bento: str) -> str:
    """Return the README of the Bento with the version `bento` that serves `served_folder`, as Markdown."""
    card, found = candidate.read_card(served_folder), served.read(served_folder)
    more = len(card.classes) - _MOST
    return _TEMPLATE.format(
        name=card.name,
        count=len(card.classes),
        classes=", ".join(map(text, card.classes[:_MOST])) + (f" and {more} more" if more > 0 else ""),
        accuracy=_accuracy(found.metrics.get("test", {}), found.precision),
        version=found.version,
        card=_CARD if (served_folder / "model_card.md").is_file() else "",
        bento=bento,
    )


def _accuracy(test: dict[str, float], precision: Precision) -> str:
    if "accuracy" not in test:
        return "It has not been evaluated on test images."
    interval = ""
    if "accuracy_low" in test:
        interval = f" (95% interval {test['accuracy_low']:.1%} to {test['accuracy_high']:.1%})"
    network = " (float32; int8 is served)" if precision == "int8" else ""
    return f"Its test accuracy is {test['accuracy']:.1%}{interval}{network}."
