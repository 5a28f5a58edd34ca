#!/usr/bin/env bash
# Gather the wheels that a GPU machine with PyTorch but without a network lacks for training, about 25 MB:
#   bash benchmarks/gpu_wheels.sh FOLDER [PYTHON] < installed.txt
# PYTHON is that machine's version, such as 3.12 (the default), and installed.txt what `pip list --format=freeze` prints
# there. On that machine, in a copy of this project, after
#   pip install --no-index --no-deps --target SITE FOLDER/*.whl && export PYTHONPATH=SITE
# the stages scratch and transfer run, and so does benchmarks/gpu_check.sh. Nothing of the pipeline's later stages is
# gathered, and of DVC only what DVCLive imports.
set -euo pipefail
folder=$1 python=${2:-3.12}
cd "$(dirname "$0")/.."
mkdir -p "$folder"
.venv/bin/python benchmarks/gpu_needs.py "$python" > "$folder/needed.txt"
platforms=()
for glibc in 2_39 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
.venv/bin/python -m pip --version >/dev/null 2>&1 || { echo "error: .venv has no pip: make clean env"; exit 1; }
.venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --dest "$folder" \
    --requirement "$folder/needed.txt"
rm "$folder/needed.txt"
du -sh "$folder"
