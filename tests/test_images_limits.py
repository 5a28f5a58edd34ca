"""What hostile or damaged bytes can do to the decoder: nothing but one plain error."""

import io
import random
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom import images
from tests.avif_files import avif_header
from tests.pictures import encode, pixels
from tests.test_images import CASES, chunk, png, profile

PHOTO = Image.fromarray(pixels(1, 40, 30))
EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0hello"
SEEDS = [
    *(data for data, _ in CASES.values()),
    *(encode(PHOTO, kind, exif=EXIF, icc_profile=profile()) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")),
    *(encode(PHOTO, "TIFF", compression=name) for name in ("jpeg", "packbits", "tiff_adobe_deflate", "lzma")),
    encode(PHOTO.convert("1"), "TIFF", compression="group4"),
    encode(PHOTO.convert("LAB"), "TIFF"),
    encode(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)], transparency=3, comment=b"hello"),
]


def outcome(data: bytes, size: int = 8) -> str:
    """Decode and return "" or the reason; whatever else is raised fails the test."""
    try:
        decoded = images.decode(data, size, max_pixels=1_000_000)
    except images.ImageError as error:
        return str(error)
    assert decoded.pixels.shape == (size, size, 3)
    assert decoded.pixels.dtype == np.uint8
    return ""


CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.sampled_from([0, 1, 2, 127, 128, 254, 255])), max_size=8)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(SEEDS), CHANGES, st.none() | st.integers(0, 2**16), st.binary(max_size=20))
@example(b"\xff\xd8\xff", [], None, b"")
def test_any_bytes_give_a_picture_or_our_error(seed, changes, cut, tail):
    data = bytearray(seed if cut is None else seed[: cut % len(seed)]) + tail
    for place, value in changes:
        if data:
            data[place % min(len(data), 600)] = value  # most of what steers a decoder stands at the beginning
    reason = outcome(bytes(data))
    assert reason == outcome(bytes(data)), "broken.csv would differ from run to run"
    assert len(reason) < 200
    assert reason.isprintable()


@given(st.binary(max_size=300))
def test_random_bytes_are_no_picture(data):
    assert outcome(b"x" + data) == "not a supported image (JPEG, PNG, GIF, WEBP, BMP, TIFF, AVIF)"


LIMITED = """
import resource, sys
from pathlib import Path
from darkroom import images
images.decode(Path(sys.argv[1], "warm.png").read_bytes(), 8)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1_000_000_000,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        images.decode(path.read_bytes(), 8)
        print(path.name, "ok")
    except images.ImageError as error:
        print(path.name, error)
"""


def decode_limited(folder: Path, files: dict[str, bytes], seconds: int = 60) -> dict[str, str]:
    """Decode files in a process with a gigabyte and `seconds` of processor to itself; return what came of each.

    Nothing may be printed but that.
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc to know how much memory is taken")
    for name, data in {"warm.png": encode(PHOTO), **files}.items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(folder), str(seconds)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    found = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert sorted(found) == sorted({"warm.png", *files})
    return found


def test_damaged_pictures_take_no_gigabyte_and_print_nothing(tmp_path):
    generator = random.Random(0)
    files = {}
    for number, seed in enumerate(SEEDS * 20):
        data = bytearray(seed)
        for _ in range(generator.choice((1, 3, 10))):
            data[generator.randrange(min(len(data), 600))] = generator.choice((0, 1, 16, 127, 128, 255))
        files[f"{number:04}"] = bytes(data)
    found = decode_limited(tmp_path, files)
    assert sum(reason != "ok" for reason in found.values()) > 50
    assert not [reason for reason in found.values() if "MemoryError" in reason]


def tiff(tags: list[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0) -> bytes:
    """Return a TIFF file of one directory (tag, type, count, value or place) at byte 8, and `tail` behind it."""
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0\x08\0\0\0" + directory + struct.pack("<I", following) + tail


SMALL = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 8)]
LZW = [tag if tag[0] != 259 else (259, 3, 1, 5) for tag in SMALL]
STRIP = [(273, 4, 1, 8), (279, 4, 1, 64)]


def _png_text() -> bytes:
    """Return a PNG with 300 compressed texts of a megabyte each."""
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 1_000_000))
    return png(8, 8, b"\0" * 8 * 25, before=text * 300)


def _png_profile() -> bytes:
    return png(8, 8, b"\0" * 8 * 25, before=chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 500_000_000, 1)))


def jpeg_passes(count: int) -> bytes:
    """Return a progressive JPEG of 16 million pixels with `count` more passes, each of a few bytes."""
    data = encode(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2][:14]
    return data[:-2] + last * count + data[-2:]


def _exif(block: bytes) -> bytes:
    """Return a JPEG with this EXIF block, in as many segments as it takes."""
    data = encode(PHOTO, "JPEG")
    parts = [b"Exif\0\0" + block[start : start + 65_000] for start in range(0, len(block), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    return data[:2] + segments + data[2:]


# 40,000 tags that all point at the same half megabyte: read one by one they are 20 GB.
OVERLAPPING = tiff([(1000 + number, 7, 500_000, 8) for number in range(40_000)], b"\0" * 600_000)
MANY_FRAMES = encode(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(turn) for turn in range(1, 300)])
BOMBS = {
    "png-text": (_png_text(), "Too much memory used in text chunks"),
    "png-profile": (_png_profile(), "Decompressed data too large"),
    "png-pixels": (png(60_000, 60_000, b"\0" * 1000), "60000 × 60000|more than the"),
    "gif-frames": (MANY_FRAMES, "ok"),
    "gif-comments": (MANY_FRAMES[:-1] + (b"\x21\xfe" + b"\xff" + b"x" * 255) * 9_000, "ok"),
    "gif-canvas": (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;", "65535 × 65535|more than"),
    "jpeg-passes": (jpeg_passes(20_000), "too many scans"),
    "jpeg-few-passes": (jpeg_passes(600), "too many scans"),
    "jpeg-exif-tags": (_exif(OVERLAPPING), "ok"),
    "jpeg-exif-loop": (_exif(tiff([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8)], following=8)), "ok"),
    "bmp-pixels": (b"BM" + struct.pack("<IIIIiiHH6I", 54, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6), "more than the"),
    "tiff-tags": (OVERLAPPING, "damaged image|not a supported image"),
    "tiff-loop": (tiff([*SMALL, *STRIP], following=8), "ok"),
    "tiff-tile": (
        tiff([*LZW, (322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 64)]),
        "damaged image|more than the",
    ),
    "tiff-strip": (
        tiff([*(tag for tag in LZW if tag[0] != 278), (278, 4, 1, 2**32 - 1), *STRIP]), "damaged image"
    ),
    "tiff-samples": (tiff([*SMALL, *STRIP, (277, 3, 1, 65_535)]), "damaged image|not a supported image"),
    "tiff-offsets": (tiff([*SMALL, (273, 4, 2**31, 8), (279, 4, 2**31, 8)]), "damaged image|not a supported image"),
    "avif-frames": (encode(Image.new("L", (3000, 3000)), "AVIF", speed=10).replace(
        struct.pack(">II", 3000, 3000), struct.pack(">II", 8, 8)), "another size than its pixels"),
    "avif-pixels": (avif_header((60_000, 60_000)), "damaged image"),
    "avif-override": (avif_header((16_000, 6_000), bits=15, reduced=False), "allows frames of"),
    "webp-pixels": (b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0/\xff\xff\xff\x0f" + b"\0" * 8, "more than the|not a picture"),
}  # fmt: skip


def test_bombs_cost_little_and_print_nothing(tmp_path):
    found = decode_limited(tmp_path, {name: data for name, (data, _) in BOMBS.items()})
    for name, (_, expected) in BOMBS.items():
        assert any(part in found[name] for part in expected.split("|")), (name, found[name])
        assert "MemoryError" not in found[name], name


PEAK = """
import sys
from pathlib import Path
from darkroom import images
images.decode(Path(sys.argv[1], "warm.png").read_bytes(), 8)
def memory(key):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if key in line)
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak (proc(5))
    before = memory("VmRSS")
    decoded = images.decode(data, int(sys.argv[2]))
    print(path.name, (memory("VmHWM") - before) * 1024 / decoded.width / decoded.height)
"""


def test_open_pictures_take_what_their_limits_assume(tmp_path):
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs /proc to measure memory")
    large = Image.fromarray(pixels(3, 3000, 3000))
    clear = large.copy()
    clear.putalpha(large.getchannel(0))
    palette = large.quantize(64)
    exif = Image.Exif()
    exif[0x0112] = 6
    cases = {
        "jpeg": (encode(large, "JPEG", subsampling=0), 10),
        "jpeg-grey": (encode(large.convert("L"), "JPEG", progressive=True), 6),
        "jpeg-progressive": (encode(large, "JPEG", subsampling=0, progressive=True), 10),
        "jpeg-cmyk": (encode(large.convert("CMYK"), "JPEG", subsampling=0, progressive=True), 12),
        "png": (encode(large, compress_level=1), 9),
        "png-alpha": (encode(clear, compress_level=1), 9),
        "png-palette": (encode(palette, compress_level=1, transparency=bytes(range(64))), 9),
        "png-16": (encode(Image.fromarray(np.asarray(large)[:, :, 0] * np.uint16(257)), compress_level=1), 9),
        "gif": (encode(palette, "GIF"), 9),
        "bmp": (encode(large, "BMP"), 9),
        "webp": (encode(clear, "WEBP", lossless=True, quality=0, method=0), 18),
        "avif": (encode(large, "AVIF", speed=10), 18),
        "avif-full": (encode(large, "AVIF", speed=10, subsampling="4:4:4", quality=98), 18),
        "avif-alpha": (encode(clear, "AVIF", speed=10, subsampling="4:4:4", quality=98), 32),
        "tiff": (encode(large, "TIFF", compression="tiff_lzw", exif=exif), 12),
        "tiff-strip": (encode(clear, "TIFF", compression="tiff_adobe_deflate", strip_size=2**31 - 1), 12),
    }
    for name, data in {"warm.png": encode(PHOTO), **{name: data for name, (data, _) in cases.items()}}.items():
        (tmp_path / name).write_bytes(data)
    for size in (64, 1024):
        result = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path), str(size)], capture_output=True, text=True, check=True
        )
        found = {name: float(value) for name, value in (line.split() for line in result.stdout.splitlines())}
        for name, (_, most) in cases.items():
            with Image.open(io.BytesIO(cases[name][0])) as image:
                assumed = images._memory(image, cases[name][0], len(image.getbands()), 1)
            assert assumed == most, name
            # beside the picture: the square, and the strip of it that is being made
            assert found[name] <= most + 3 * size / 1024, (name, size)


@pytest.mark.parametrize(
    ("width", "height", "allowed"),
    [(20_000, 6_000, "100,000,000"), (10_001, 10_000, "100,000,000")],
)
def test_the_limit_names_what_is_allowed(width, height, allowed):
    with pytest.raises(images.ImageError, match=rf"{width} × {height} is more than the {allowed} pixels allowed"):
        images.decode(png(width, height, b""), 8)


def test_formats_that_take_more_memory_have_a_lower_limit():
    """What an AVIF file declares is refused from its header alone: there are no pixels in these."""
    with pytest.raises(images.ImageError, match=r"8000 × 8000 is more than the 50,000,000 pixels allowed"):
        images.decode(avif_header((8000, 8000)), 8)
    with pytest.raises(images.ImageError, match=r"^10001 × 10000 is more than the 100,000,000 pixels allowed"):
        images.decode(avif_header((10_001, 10_000)), 8)
    with pytest.raises(images.ImageError, match=r"^41 × 30 is more than the 1,200 pixels allowed"):
        images.decode(avif_header((41, 30)), 8, max_pixels=1200)
    with pytest.raises(images.ImageError, match="allows frames of 1,073,741,824 pixels"):
        images.decode(avif_header((6000, 6000), bits=15, reduced=False), 8)  # a frame may be 32768 × 32768
    data = bytearray(encode(PHOTO, "WEBP", lossless=True))
    place = data.index(b"VP8L") + 9
    data[place : place + 4] = struct.pack("<I", (8000 - 1) | (8000 - 1) << 14)  # RFC 9649, section 7.1
    with pytest.raises(images.ImageError, match=r"8000 × 8000 is more than the 50,000,000 pixels allowed"):
        images.decode(bytes(data), 8)


def test_large_pictures_are_open_one_at_a_time(monkeypatch):
    monkeypatch.setattr(images, "LARGE", 9 * 50 * 50)
    large = threading.Thread(target=images.decode, args=(encode(Image.new("RGB", (51, 50))), 8))
    with images._large_lock:
        large.start()
        images.decode(encode(Image.new("RGB", (50, 50))), 8)
        large.join(0.2)
        assert large.is_alive()
    large.join(10)
    assert not large.is_alive()


def test_threads_decode_without_a_warning_and_leave_the_filters_alone(capfd):
    """Pillow warns about this picture; a filter set and restored around each call would be lost between threads."""
    foreign = _exif(tiff([(0x0112, 3, 1, 1), (0x9286, 7, 5_000, 60_000)]))
    tasks = [foreign, encode(PHOTO), *SEEDS] * 5
    failures = []

    def work() -> None:
        for data in tasks:
            try:
                images.decode(data, 8)
            except Exception as error:  # an exception in a thread would pass unseen
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with pytest.raises(UserWarning, match="still here"):
        warnings.warn("still here", UserWarning, stacklevel=1)
    assert capfd.readouterr() == ("", "")
