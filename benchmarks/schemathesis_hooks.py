"""For schemathesis: a file is a picture. No schema can say so, and other bytes are refused, as they must be."""

import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image


def _picture(width: int, height: int, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (width, height, 99)).save(file, kind)
    return file.getvalue()


_SIDES = st.integers(min_value=1, max_value=50)
schemathesis.openapi.format("binary", st.builds(_picture, _SIDES, _SIDES, st.sampled_from(["PNG", "JPEG", "BMP"])))
