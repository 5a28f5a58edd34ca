"""A small version of benchmarks/hardening.py, on the real service with two workers; and every format over HTTP."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import numpy as np
import pytest

from benchmarks import hardening
from benchmarks.hardening import LIMITS, Findings, Service
from darkroom import images
from tests.test_images import CASES
from tests.test_images_limits import SEEDS


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with ExitStack() as stack:
        yield hardening.start(stack)


def test_every_format_is_answered_over_http_as_it_was_judged(service: Service) -> None:
    """Evaluated is what the model says to the pixels that the decoding contract makes of the bytes."""
    bytes_ = [data for data, _ in CASES.values()] + SEEDS[len(CASES) :]
    decoded = np.stack([images.decode(data, service.predictor.card.image_size).pixels for data in bytes_])
    evaluated = service.predictor.probabilities(decoded)
    answered = []
    for start in range(0, len(bytes_), LIMITS.max_images):
        files = [
            ("images", (str(number), data)) for number, data in enumerate(bytes_[start : start + LIMITS.max_images])
        ]
        answer = httpx.post(f"http://127.0.0.1:{service.port}/predict", files=files, timeout=60).json()
        answered += answer["predictions"]
    for prediction, row in zip(answered, evaluated, strict=True):
        found = {item["label"]: item["probability"] for item in prediction["labels"]}
        assert [found[name] for name in service.predictor.card.classes] == pytest.approx(row, abs=1e-5)


def test_malformed_requests_break_nothing(service: Service) -> None:
    findings = Findings()
    asyncio.run(hardening.attack(service, findings, count=400, seed=1))
    assert findings.wrong == []


@pytest.mark.slow
def test_mixed_load_is_answered_rightly(service: Service) -> None:
    findings = Findings()
    asyncio.run(hardening.load(service, findings, seconds=3, seed=1))
    assert findings.wrong == []


def test_what_is_wrong_is_seen(service: Service) -> None:
    """The checks themselves: a wrong expectation is told from a right one."""
    swapped = Service(service.port, service.process, service.predictor, service.pictures, service.expected[::-1])
    findings = Findings()
    asyncio.run(hardening.attack(swapped, findings, count=1, seed=0))
    assert findings.wrong == ["right answers afterwards"]


@pytest.mark.slow
def test_a_killed_worker_is_hardly_missed(service: Service) -> None:
    findings = Findings()
    asyncio.run(hardening.kill(service, findings, seconds=4, patience=0))
    assert findings.wrong == []
