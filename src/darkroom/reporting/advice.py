"""Advice if the selected network does not outperform the baseline, for the report and for `darkroom summary`."""

from collections.abc import Mapping
from typing import Any

from darkroom.markdown import percent, score


def behind(name: str, network: Mapping[str, Any], baseline: Mapping[str, Any], uneven: bool) -> str:
    """Return what to do if the baseline scores higher than the network `name`, in one sentence; else nothing.

    network, baseline: scores by split and name, as in `plots/tables/scores.json`; uneven: macro F1 is compared instead
    of accuracy.
    """
    key, words, shown = ("macro_f1", "macro F1", score) if uneven else ("accuracy", "accuracy", percent)
    parts, is_behind = [], []
    for split in ("validation", "test"):
        own, other = ((scores.get(split) or {}).get(key, 0.0) for scores in (network, baseline))
        parts.append(f"{shown(other)} on {split}, compared with {shown(own)}")
        is_behind.append(other > own)
    if not any(is_behind):
        return ""
    where = "" if all(is_behind) else " on validation" if is_behind[0] else " on test"
    return (
        f"Try to improve {name}, since the baseline has a higher {words}{where} ({'; '.join(parts)}): "
        "use more training images or another network"
    )
