"""Try to break the service: malformed requests, mixed load for minutes, a killed worker, a schema's own tests.

    python benchmarks/hardening.py                         # everything, ten minutes of load, 5,000 malformed requests
    python benchmarks/hardening.py --minutes 0.5 --malformed 500
    python benchmarks/hardening.py --schemathesis SCHEMATHESIS   # its command, from an environment with Pillow

`bentoml serve` with two workers, in a temporary folder, with the small model of the tests; the load comes from this
process. Ends with 1 when anything is as it must not be, and prints a Markdown table either way.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from darkroom import images
from darkroom.predictor import Predictor
from darkroom.serving import served
from darkroom.serving.build import bento
from darkroom.serving.settings import ServeSettings
from tests import malformed
from tests.factories_serving import ROOT, picture, serving, write_served
from tests.malformed import FORM, Reply, form, request, send

LIMITS = ServeSettings(top_k=3, max_images=8, max_megabytes=1, max_request_megabytes=4, max_megapixels=20)
CONNECTIONS = 64
SETTLED = 60.0
"""Seconds of load from which memory is evaluated: before, the allocator still takes what it will keep."""


@dataclass
class Service:
    """The service under test, and what it must answer."""

    port: int
    process: psutil.Process
    predictor: Predictor
    """The model itself, in this process."""
    pictures: list[bytes]
    expected: list[dict[str, float]]
    """Each picture's probabilities by class, from the model itself."""

    def workers(self) -> list[psutil.Process]:
        """Return the processes that answer."""
        found = []
        for child in self.process.children():
            with suppress(psutil.NoSuchProcess):  # a dead one, until it is collected
                found += [child] if "_bentoml_impl.worker.service" in child.cmdline() else []
        return found

    def right(self, reply: Reply, number: int) -> bool:
        """Say whether a reply is the right answer for picture `number`."""
        if reply.status != 200:
            return False
        found = {item["label"]: item["probability"] for item in json.loads(reply.body)["predictions"][0]["labels"]}
        expected = self.expected[number]
        return found.keys() == expected.keys() and all(abs(found[name] - expected[name]) <= 1e-5 for name in expected)

    def good(self, number: int) -> bytes:
        """Return a request for the answer to picture `number`."""
        return request(form(self.pictures[number]), FORM)


@dataclass
class Findings:
    """Rows of the table, and what was wrong."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def tell(self, what: str, figure: str, wrong: bool = False) -> None:
        """Add a row, print it, and remember it when it must not be."""
        self.rows.append((what, figure + (" **wrong**" if wrong else "")))
        print(f"{'WRONG ' if wrong else ''}{what}: {figure}", file=sys.stderr, flush=True)
        if wrong:
            self.wrong.append(what)


def main() -> None:
    parser = argparse.ArgumentParser(description="Try to break the service.")
    parser.add_argument("--minutes", type=float, default=10.0, help="of mixed load")
    parser.add_argument("--malformed", type=int, default=5000)
    parser.add_argument("--schemathesis", type=Path)
    parser.add_argument("--examples", type=int, default=100, help="of schemathesis, for each operation")
    parser.add_argument("--only", choices=["malformed", "load", "kill", "schemathesis"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.only == "schemathesis" and not arguments.schemathesis:
        parser.error("--only schemathesis needs its command: --schemathesis PATH")
    findings = Findings()
    with ExitStack() as stack:
        service = start(stack)
        if arguments.only in (None, "malformed"):
            asyncio.run(attack(service, findings, arguments.malformed, arguments.seed))
        if arguments.only in (None, "load"):
            asyncio.run(load(service, findings, arguments.minutes * 60, arguments.seed))
        if arguments.only in (None, "kill"):
            asyncio.run(kill(service, findings))
        if arguments.only in (None, "schemathesis") and arguments.schemathesis:
            schemathesis(service, findings, arguments.schemathesis, arguments.examples, arguments.seed)
    print("| what | found |\n|---|---|")
    print("\n".join(f"| {what} | {figure} |" for what, figure in findings.rows))
    sys.exit(1 if findings.wrong else 0)


def start(stack: ExitStack) -> Service:
    """Serve a small model's Bento with two workers until `stack` closes."""
    top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="darkroom-")))
    project = write_served(top / "project", LIMITS)
    folder = top / "darkroom.bento"
    bento.build(project / served.FOLDER, ROOT / "bentofile.yaml", ROOT / "requirements-serve.txt", folder)
    predictor = Predictor(project / served.FOLDER)
    pictures = [picture(seed) for seed in range(16)]
    side, fit = predictor.card.image_size, predictor.card.fit
    decoded = np.stack([images.decode(data, side, fit=fit).pixels for data in pictures])
    expected = [
        dict(zip(predictor.card.classes, row.tolist(), strict=True)) for row in predictor.probabilities(decoded)
    ]
    before = {child.pid for child in psutil.Process().children()}
    address = stack.enter_context(
        serving(folder, top, BENTOML_CONFIG_OPTIONS="services.Classifier.workers=2", PYTHONPATH="")
    )
    (process,) = [child for child in psutil.Process().children() if child.pid not in before]
    return Service(int(address.rsplit(":", 1)[1]), process, predictor, pictures, expected)


async def attack(service: Service, findings: Findings, count: int, seed: int) -> None:
    """Send malformed requests, 16 at a time, and see that the service is whole afterwards."""
    waiting = iter(malformed.requests(count, seed))
    statuses: Counter[int] = Counter()
    failures: list[bytes] = []
    hanging: list[bytes] = []
    workers = {worker.pid for worker in service.workers()}
    slowest = 0.0

    async def one() -> None:
        nonlocal slowest
        for data in waiting:
            try:
                reply = await send(service.port, [data], limit=4 * malformed.PATIENCE)
            except (TimeoutError, asyncio.IncompleteReadError):
                hanging.append(data)
                continue
            statuses[reply.status] += 1
            slowest = max(slowest, reply.seconds)
            if reply.seconds > malformed.PATIENCE:
                hanging.append(data)
            if reply.status >= 500:
                failures.append(data)

    begin = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(16)))
    seconds = time.perf_counter() - begin
    listed = ", ".join(f"{number} × {status or 'closed'}" for status, number in sorted(statuses.items()))
    findings.tell(f"{count:,} malformed requests, {seconds:.0f} s", listed)
    findings.tell("answers of 500 and more", str(len(failures)), wrong=bool(failures))
    findings.tell(
        f"hanging over {malformed.PATIENCE:.0f} s (slowest)", f"{len(hanging)} ({slowest:.1f} s)", wrong=bool(hanging)
    )
    for data in [*failures, *hanging][:5]:
        print(f"  {data[:300]!r}", file=sys.stderr)
    replies = [await send(service.port, [service.good(number)], end=False) for number in range(len(service.pictures))]
    right = sum(service.right(reply, number) for number, reply in enumerate(replies))
    findings.tell("right answers afterwards", f"{right} of {len(replies)}", wrong=right < len(replies))
    ended = len(workers - {worker.pid for worker in service.workers()})
    findings.tell("workers that ended", str(ended), wrong=ended > 0)


async def load(service: Service, findings: Findings, seconds: float, seed: int) -> None:
    """Send good, broken, oversized, slow and dropped requests from 64 connections for a while."""
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    memory: list[float] = []
    workers = {worker.pid for worker in service.workers()}
    end = time.monotonic() + seconds

    async def one(number: int) -> None:
        generator = random.Random(seed * 1000 + number)
        while time.monotonic() < end:
            kind = generator.choices(("good", "broken", "oversized", "slow", "dropped"), (70, 12, 4, 4, 10))[0]
            place = generator.randrange(len(service.pictures))
            counts[kind] += 1
            try:
                reply = await _mixed(service, kind, place, generator)
            except (TimeoutError, asyncio.IncompleteReadError):
                wrong[f"{kind}: no answer"] += 1
                continue
            if reply.status >= 500:
                wrong[f"{kind}: {reply.status}"] += 1
            elif kind in ("good", "slow") and not service.right(reply, place):
                wrong[f"{kind}: {reply.status}, not the right answer"] += 1
            elif kind == "oversized" and reply.status != 413:
                wrong[f"{kind}: {reply.status}"] += 1

    async def watch() -> None:
        while time.monotonic() < end:
            memory.append(sum(worker.memory_info().rss for worker in service.workers()) / 1e6)
            await asyncio.sleep(min(1.0, seconds / 20))

    await asyncio.gather(watch(), *(one(number) for number in range(CONNECTIONS)))
    listed = ", ".join(f"{number:,} {kind}" for kind, number in counts.most_common())
    findings.tell(f"{seconds / 60:g} minutes of mixed load, {CONNECTIONS} connections", listed)
    found = ", ".join(f"{number} × {what}" for what, number in wrong.items())
    findings.tell("wrong, missing or failed answers", found or "none", wrong=bool(wrong))
    ended = len(workers - {worker.pid for worker in service.workers()})
    findings.tell("workers that ended under load", str(ended), wrong=ended > 0)
    if seconds < SETTLED:
        return
    tenth = max(1, len(memory) // 10)
    first, last = (float(np.median(part)) for part in (memory[tenth : 3 * tenth], memory[-2 * tenth :]))
    figure = f"{first:.0f} MB, {last:.0f} MB ({last / first - 1:+.1%})"
    findings.tell("memory of both workers, second and third tenth, last two", figure, wrong=last > 1.1 * first)


async def _mixed(service: Service, kind: str, place: int, generator: random.Random) -> Reply:
    good = service.good(place)
    match kind:
        case "broken":
            return await send(service.port, [malformed.one(generator)], limit=20)
        case "oversized":
            return await send(service.port, [request(bytes(5_000_000), "image/png")], end=False, limit=20)
        case "slow":
            middle = len(good) // 2
            return await send(service.port, [good[:middle], good[middle:-9], good[-9:]], pause=1.0, end=False, limit=20)
        case "dropped":
            return await send(service.port, [good[: generator.randrange(1, len(good))]], drop=True)
    return await send(service.port, [good], end=False, limit=20)


async def kill(service: Service, findings: Findings, seconds: float = 20.0, patience: float = 30.0) -> None:
    """Kill one of two workers under load: how long nothing is answered, and whether anything is answered wrongly.

    `patience` is how long to wait for a new one, 0 not to.
    """
    answered: list[float] = []
    lost = wrong = 0
    begin = time.monotonic()

    async def one(number: int) -> None:
        nonlocal lost, wrong
        while time.monotonic() < begin + seconds:
            number = (number + 1) % len(service.pictures)
            try:
                reply = await send(service.port, [service.good(number)], end=False)
            except (TimeoutError, asyncio.IncompleteReadError):
                reply = Reply(0, b"", 0.0)
            if service.right(reply, number):
                answered.append(time.monotonic())
            elif reply.status == 0:
                lost += 1
            else:
                wrong += 1

    async def strike() -> float:
        await asyncio.sleep(seconds / 5)
        victim = service.workers()[0]
        victim.kill()
        while victim in service.workers():
            await asyncio.sleep(0.01)
        struck = time.monotonic()
        while time.monotonic() < struck + patience and len(service.workers()) < 2:
            await asyncio.sleep(0.1)
        return time.monotonic() - struck

    back, *_ = await asyncio.gather(strike(), *(one(number) for number in range(16)))
    # From the beginning and to the end: silence that lasts must not be left out.
    gaps = np.diff(sorted([begin, *answered, begin + seconds]))
    findings.tell("one of two workers killed: longest time without an answer", f"{gaps.max():.2f} s", gaps.max() > 5)
    findings.tell("wrong answers then, connections that died with it", f"{wrong}, {lost}", wrong > 0)
    if patience:
        findings.tell("until there were two workers again", f"{back:.1f} s", back > patience)


def schemathesis(service: Service, findings: Findings, command: Path, examples: int, seed: int) -> None:
    """Let schemathesis send what `/docs.json` allows and forbids, and compare with what it promises."""
    options = ["--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--workers", "2"]
    address = f"http://127.0.0.1:{service.port}/docs.json"
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "benchmarks.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    result = subprocess.run([command, "run", address, *options], env=environment, capture_output=True, text=True)
    print(result.stdout[-6000:], file=sys.stderr)
    lines = result.stdout.strip().splitlines() or [result.stderr.strip()]
    findings.tell("schemathesis over /docs.json", lines[-1].strip("= "), wrong=result.returncode != 0)


if __name__ == "__main__":
    main()
