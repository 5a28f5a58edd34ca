"""Verify that the best candidate gives the evaluated predictions, and build the Bento.

python stages package --best models/best.json --candidates models/candidates
    --packed data/packed --split data/split.csv --evaluation plots/tables/scores.json
    --model-card models/model_card.md --verification verification --served models/served --bento dist/darkroom.bento
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from darkroom import packed
from darkroom.foundations import files, params
from darkroom.foundations.errors import run
from darkroom.serving import proofs
from darkroom.serving.build import bento, packaging, quantization
from darkroom.serving.settings import PackageSettings, ServeSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Write the served model and the Bento, both or neither."""
    parser = argparse.ArgumentParser(description="Verify the best candidate and build the Bento.")
    for name in ("best", "candidates", "packed", "split", "evaluation", "model-card", "served", "bento"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--verification", type=Path, help="folder with the proof of `darkroom verify`, if there is one")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--bentofile", type=Path, default=Path("bentofile.yaml"))
    parser.add_argument("--requirements", type=Path, default=Path("requirements-serve.txt"))
    arguments = parser.parse_args(argv)

    limits = params.load(arguments.params, ServeSettings, "serve")
    settings = params.load(arguments.params, PackageSettings, "package")
    seed = params.load(arguments.params, int, "seed")
    best = packaging.read_best(arguments.best)
    with files.whole_directory(arguments.served) as folder:
        shutil.copyfile(arguments.model_card, folder / "model_card.md")
        served = packaging.write_served(
            folder,
            best,
            arguments.candidates,
            packed.open_packed(arguments.packed),
            packed.read_split(arguments.split),
            files.read_json(arguments.evaluation),
            limits,
            settings,
            seed,
        )
        verification = arguments.verification
        is_proven = verification is not None and proofs.read(verification, served.version) is not None
        proof = verification / proofs.NAME if is_proven else None
        version = bento.build(folder, arguments.bentofile, arguments.requirements, arguments.bento, proof)
    if quantized := quantization.read(arguments.served):
        print(quantized)
    parity = served.parity
    print(f"{best.name} {served.version}: {parity.rows} predictions match those evaluated", end=", ")
    print(f"largest difference {parity.largest_difference:.1e}")
    print(f"{arguments.bento}: version {version}{', with the proof of its verification' if proof else ''}")


if __name__ == "__main__":
    run(main)
