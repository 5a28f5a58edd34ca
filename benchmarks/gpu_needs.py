"""Print the packages that training needs and a machine lacks, as pinned here, for gpu_wheels.sh.

python benchmarks/gpu_needs.py 3.12 < installed.txt
"""

import re
import sys
from importlib import metadata

from packaging.requirements import Requirement

NEEDED = ("dvclive", "pydantic", "ruamel.yaml", "safetensors", "pillow", "psutil", "rich", "requests", "threadpoolctl")
"""Of the pipeline's packages those that the stages scratch and transfer import, besides PyTorch's own and ONNX."""
WITH_TORCH = ("numpy", "torch", "torchvision", "scikit-learn", "scipy", "onnx", "onnxscript", "onnxruntime", "pandas")
"""What a machine made for training has already; without it one would carry gigabytes."""
UNUSED = ("hydra-core", "omegaconf", "antlr4-python3-runtime", "nvidia-ml-py")
"""What DVC asks for and a training never imports."""


def main() -> None:
    version = sys.argv[1]
    environment = {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    found = {name(*line.split("==")[:1]) for line in sys.stdin if "==" in line}
    seen: dict[str, str] = {}
    waiting = [name(each) for each in NEEDED]
    while waiting:
        each = waiting.pop()
        # Pillow decides every pixel, so its version must be ours.
        if each in seen or each in (*WITH_TORCH, *UNUSED) or (each in found and each != "pillow"):
            continue
        try:
            distribution = metadata.distribution(each)
        except metadata.PackageNotFoundError:  # for another Python or platform than this one
            continue
        seen[each] = distribution.version
        for line in distribution.requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(environment):
                waiting.append(name(requirement.name))
    print(*(f"{each}=={seen[each]}" for each in sorted(seen)), sep="\n")


def name(text: str) -> str:
    """Return a package's normalised name."""
    return re.sub(r"[-_.]+", "-", text.strip()).lower()


if __name__ == "__main__":
    main()
