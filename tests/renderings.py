"""Renderings on plain backgrounds, as of coins, products, cells and X-rays: alike at a glance, and all different."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 96


def draw(kind: str, label: int, seed: int) -> Image.Image:
    """Return one rendering of a class: another one for each seed."""
    random = np.random.default_rng([seed, label, len(kind)])
    image, smooth = KINDS[kind](label, random)
    image = image.filter(ImageFilter.GaussianBlur(smooth))
    noise = random.normal(0, 2, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _disc(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _coin(label: int, random: np.random.Generator) -> tuple[Image.Image, float]:
    """A bright disc on black with as many marks near its edge as the class says, turned by chance."""
    image = Image.new("RGB", (SIDE, SIDE), (6, 6, 8))
    canvas = ImageDraw.Draw(image)
    middle, radius = SIDE / 2 + random.uniform(-2, 2), 38 + random.uniform(-1, 1)
    _disc(canvas, middle, middle, radius, (225, 215, 190))
    turn = random.uniform(0, 2 * np.pi)
    for angle in turn + np.arange(label + 3) * 2 * np.pi / (label + 3):
        _disc(canvas, middle + 26 * np.cos(angle), middle + 26 * np.sin(angle), 4, (170, 160, 130))
    return image, 1.0


def _plain(label: int, random: np.random.Generator) -> tuple[Image.Image, float]:
    """A bright disc on black, shaded smoothly, with one small mark: its size is the class."""
    image = Image.new("RGB", (SIDE, SIDE), (0, 0, 0))
    canvas = ImageDraw.Draw(image)
    bright = random.integers(200, 250)
    _disc(canvas, SIDE / 2, SIDE / 2, 36, (bright, bright, bright))
    x, y = SIDE / 2 + random.uniform(-18, 18, 2)
    _disc(canvas, x, y, 2 + label * 1.2, (bright - 90,) * 3)
    return image, 2.0


def _product(label: int, random: np.random.Generator) -> tuple[Image.Image, float]:
    """A bottle on white, of one shape, with a paper label that bears bars as the class has it, in any colour."""
    image = Image.new("RGB", (SIDE, SIDE), (250, 250, 250))
    canvas = ImageDraw.Draw(image)
    left, top = random.uniform(-2, 2, 2)
    canvas.rectangle((34 + left, 24 + top, 62 + left, 90 + top), fill=(30, 90, 50))
    canvas.rectangle((43 + left, 6 + top, 53 + left, 24 + top), fill=(30, 90, 50))
    ink = tuple(random.integers(20, 200, 3).tolist())
    canvas.rectangle((35 + left, 44 + top, 61 + left, 72 + top), fill=(235, 225, 200))
    for number in range(label + 1):
        canvas.rectangle((36 + left + number * 2.4, 46 + top, 37 + left + number * 2.4, 70 + top), fill=ink)
    return image, 0.7


def _cell(label: int, random: np.random.Generator) -> tuple[Image.Image, float]:
    """A pink cell on grey with as many grains as the class says, anywhere in it."""
    image = Image.new("RGB", (SIDE, SIDE), (228, 222, 226))
    canvas = ImageDraw.Draw(image)
    _disc(canvas, *(SIDE / 2 + random.uniform(-3, 3, 2)), 34 + random.uniform(-2, 2), (226, 150, 190))
    for _ in range(label + 1):
        x, y = SIDE / 2 + random.uniform(-20, 20, 2)
        _disc(canvas, x, y, random.uniform(3, 5), (110, 50, 130))
    return image, 1.0


def _xray(label: int, random: np.random.Generator) -> tuple[Image.Image, float]:
    """A body with two lungs and ribs, the same in all, and a faint shadow where the class has it."""
    image = Image.new("L", (SIDE, SIDE), 12)
    canvas = ImageDraw.Draw(image)
    shift = random.uniform(-2, 2)
    canvas.ellipse((10 + shift, 2, 86 + shift, 110), fill=170)
    for left in (20, 52):
        canvas.ellipse((left + shift, 16, left + 24 + shift, 80), fill=60 + int(random.integers(0, 12)))
    for rib in range(20, 80, 10):
        canvas.arc((18 + shift, rib, 78 + shift, rib + 14), 180, 360, fill=120, width=2)
    x, y = 26 + 5 * label + random.uniform(-4, 4), 30 + random.uniform(0, 40)
    canvas.ellipse((x - 5, y - 5, x + 5, y + 5), fill=140)
    return image.convert("RGB"), 1.5


KINDS: dict[str, Callable[[int, np.random.Generator], tuple[Image.Image, float]]] = {
    "coins": _coin,
    "plain discs": _plain,
    "products": _product,
    "cells": _cell,
    "X-rays": _xray,
}
