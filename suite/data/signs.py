"""The faces of 43 German-style traffic signs: their shapes as data, drawn by Pillow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import PIL
from PIL import Image, ImageDraw, ImageFont

from suite.data.split import CLASSES

if TYPE_CHECKING:
    from typing import TypeAlias

Points: TypeAlias = "tuple[tuple[float, float], ...]"
RED, GREEN, BLUE, YELLOW = (196, 24, 34), (20, 150, 70), (0, 88, 168), (250, 190, 10)
WHITE, BLACK, GREY = (245, 245, 245), (20, 20, 20), (135, 135, 135)

FRACTIONAL_STROKES = tuple(map(int, PIL.__version__.split(".")[:2])) >= (11, 2)
"""True where Pillow draws outlines of any width, not only of whole pixels."""

OVERSAMPLING = 4
"""Faces are drawn so many times larger and averaged down, for smooth edges."""

TEXT_BOXES = {2: (1.0, 0.78), 3: (1.16, 0.72), 4: (1.5, 0.56)}
"""Width and height that a text fills, by its number of characters; the face is 2 wide."""


class Mark(NamedTuple):
    """One part of a face; the face spans [-1, 1] from left to right and from top to bottom.

    Attributes:
        points: Corners of a filled polygon or, with a `width`, points of a line.
        width: Width of the line, which has round ends; 0 for a filled polygon.
        colour: RGB in [0, 255].
    """

    points: Points
    width: float = 0.0
    colour: tuple[int, int, int] = BLACK


class Sign(NamedTuple):
    """How the face of one class looks.

    Attributes:
        plate: A key of `PLATES`: shape and colours of the ground.
        marks: Drawn over plate and text, in order.
        text: Written on the plate.
        text_colour: RGB in [0, 255].
    """

    plate: str
    marks: tuple[Mark, ...] = ()
    text: str = ""
    text_colour: tuple[int, int, int] = BLACK


def _dot(x: float, y: float, radius: float, colour: tuple[int, int, int] = BLACK) -> Mark:
    return Mark(((x, y), (x, y)), 2 * radius, colour)


def _moved(mark: Mark, *, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> Mark:
    points = tuple((scale * px + x, scale * py + y) for px, py in mark.points)
    return mark._replace(points=points, width=scale * mark.width)


def _turned(mark: Mark, degrees: int) -> Mark:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    points = tuple((cosine * x - sine * y, sine * x + cosine * y) for x, y in mark.points)
    return mark._replace(points=points)


def _mirrored(sign: Sign) -> Sign:
    """Exchange left and right of `sign`."""
    flipped = (mark._replace(points=tuple((-x, y) for x, y in mark.points)) for mark in sign.marks)
    return sign._replace(marks=tuple(flipped))


def _circle(radius: float, corners: int = 72, phase: float = 0.0) -> Points:
    angles = (2 * math.pi * (corner + phase) / corners for corner in range(corners))
    return tuple((radius * math.cos(angle), radius * math.sin(angle)) for angle in angles)


def _arc(radius: float, start: int, stop: int) -> Points:
    """List points from `start` to `stop`, in degrees clockwise from the right."""
    angles = (math.radians(degree) for degree in range(start, stop + 1, 10))
    return tuple((radius * math.cos(angle), radius * math.sin(angle)) for angle in angles)


def _triangle(size: float, *, point: int) -> Points:
    """Make a triangle around the origin that points up (-1) or down (1)."""
    corners = ((0.0, 1.0), (0.98, -0.72), (-0.98, -0.72))
    return tuple((size * x, point * size * y) for x, y in corners)


def _arrow(*path: tuple[float, float], colour: tuple[int, int, int] = WHITE) -> tuple[Mark, ...]:
    """Make an arrow: a thick line along `path` with a head at its end."""
    (x0, y0), (x1, y1) = path[-2:]
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    head = ((0.42, 0.0), (-0.06, 0.34), (-0.06, -0.34))
    corners = tuple((x1 + a * ux - b * uy, y1 + a * uy + b * ux) for a, b in head)
    return (Mark(path, 0.22, colour), Mark(corners, 0.0, colour))


def _car(x: float, colour: tuple[int, int, int]) -> tuple[Mark, ...]:
    body: Points = ((-0.26, 0.1), (-0.26, -0.12), (-0.15, -0.16), (-0.1, -0.34), (0.1, -0.34))
    body += ((0.15, -0.16), (0.26, -0.12), (0.26, 0.1))
    wheels = (_dot(-0.18, 0.12, 0.08, colour), _dot(0.18, 0.12, 0.08, colour))
    return tuple(_moved(m, x=x, y=0.1) for m in (Mark(body, 0.0, colour), *wheels))


def _truck(x: float, colour: tuple[int, int, int], scale: float = 1.0) -> tuple[Mark, ...]:
    box = ((-0.42, 0.12), (-0.42, -0.32), (0.1, -0.32), (0.1, 0.12))
    cab = ((0.14, 0.12), (0.14, -0.18), (0.3, -0.18), (0.42, 0.0), (0.42, 0.12))
    wheels = (_dot(-0.26, 0.17, 0.1, colour), _dot(0.26, 0.17, 0.1, colour))
    shapes = (Mark(box, 0.0, colour), Mark(cab, 0.0, colour), *wheels)
    return tuple(_moved(m, scale=scale, x=x, y=0.06) for m in shapes)


def _walker(x: float, scale: float) -> tuple[Mark, ...]:
    limbs = (
        ((0.0, -0.2), (0.0, 0.12)),
        ((0.0, 0.1), (-0.2, 0.5)),
        ((0.0, 0.1), (0.2, 0.5)),
        ((-0.2, 0.1), (0.0, -0.18), (0.22, 0.06)),
    )
    marks = (_dot(0.0, -0.38, 0.13), *(Mark(limb, 0.13) for limb in limbs))
    return tuple(_moved(mark, scale=scale, x=x, y=0.06) for mark in marks)


def _ring(x: float, y: float, radius: float, width: float) -> Mark:
    return _moved(Mark(_arc(radius, 0, 360), width), x=x, y=y)


_STRIPES = tuple(
    Mark(((-0.6 + shift, 0.6 + shift), (0.6 + shift, -0.6 + shift)), 0.07)
    for shift in (-0.16, -0.05, 0.06, 0.17)
)

PLATES: dict[str, tuple[Mark, ...]] = {
    "prohibition": (Mark(_circle(0.98), 0.0, RED), Mark(_circle(0.74), 0.0, WHITE)),
    "end": (Mark(_circle(0.98), 0.0, BLACK), Mark(_circle(0.93), 0.0, WHITE)),
    "mandatory": (Mark(_circle(0.98), 0.0, WHITE), Mark(_circle(0.92), 0.0, BLUE)),
    "no entry": (Mark(_circle(0.98), 0.0, RED),),
    "warning": (
        Mark(_triangle(0.98, point=-1), 0.0, RED),
        Mark(_triangle(0.68, point=-1), 0.0, WHITE),
    ),
    "yield": (
        Mark(_triangle(0.98, point=1), 0.0, RED),
        Mark(_triangle(0.58, point=1), 0.0, WHITE),
    ),
    "priority": (
        Mark(_circle(0.98, 4), 0.0, BLACK),
        Mark(_circle(0.94, 4), 0.0, WHITE),
        Mark(_circle(0.66, 4), 0.0, YELLOW),
    ),
    "stop": (
        Mark(_circle(0.98, 8, 0.5), 0.0, WHITE),
        Mark(_circle(0.92, 8, 0.5), 0.0, RED),
    ),
}

_CURVE_LEFT = Sign(
    "warning",
    (
        Mark(((0.16, 0.46), (0.16, 0.1), (-0.08, -0.1)), 0.16),
        Mark(((-0.3, -0.2), (0.06, -0.22), (-0.14, 0.06))),
    ),
)

_TURN_LEFT = Sign("mandatory", _arrow((0.3, 0.55), (0.3, 0.0), (-0.3, 0.0)))
_STRAIGHT_OR_LEFT = Sign(
    "mandatory",
    _arrow((0.2, 0.6), (0.2, -0.35)) + _arrow((0.2, 0.3), (-0.2, 0.3)),
)

_KEEP_LEFT = Sign("mandatory", _arrow((0.42, -0.42), (-0.25, 0.25)))
_SNOW = tuple(
    _moved(_turned(Mark(((-0.42, 0.0), (0.42, 0.0)), 0.08), degrees), y=0.16)
    for degrees in (30, 90, 150)
)

_ROUNDABOUT = tuple(
    _turned(mark, degrees)
    for degrees in (0, 120, 240)
    for mark in (
        Mark(_arc(0.52, 0, 70), 0.18, WHITE),
        Mark(((0.82, 0.06), (0.52, -0.36), (0.22, 0.06)), 0.0, WHITE),
    )
)

SIGNS: tuple[Sign, ...] = (
    Sign("prohibition", text="20"),
    Sign("prohibition", text="30"),
    Sign("prohibition", text="50"),
    Sign("prohibition", text="60"),
    Sign("prohibition", text="70"),
    Sign("prohibition", text="80"),
    Sign("end", _STRIPES, text="80", text_colour=GREY),
    Sign("prohibition", text="100"),
    Sign("prohibition", text="120"),
    Sign("prohibition", _car(-0.31, RED) + _car(0.31, BLACK)),
    Sign("prohibition", _truck(-0.24, RED, 0.8) + _car(0.42, BLACK)),
    Sign("warning", (  # right of way at the next crossing
        Mark(((0.0, 0.55), (0.0, -0.1)), 0.16),
        Mark(((-0.2, -0.06), (0.0, -0.5), (0.2, -0.06))),
        Mark(((-0.34, 0.28), (0.34, 0.28)), 0.1),
    )),
    Sign("priority"),
    Sign("yield"),
    Sign("stop", text="STOP", text_colour=WHITE),
    Sign("prohibition"),
    Sign("prohibition", _truck(0.0, BLACK, 1.2)),
    Sign("no entry", (Mark(((-0.7, -0.17), (0.7, -0.17), (0.7, 0.17), (-0.7, 0.17)), 0.0, WHITE),)),
    Sign("warning", (  # general danger
        Mark(((-0.13, -0.4), (0.13, -0.4), (0.07, 0.2), (-0.07, 0.2))),
        _dot(0.0, 0.4, 0.12),
    )),
    _CURVE_LEFT,
    _mirrored(_CURVE_LEFT),
    Sign("warning", (  # double curve
        Mark(((0.1, 0.5), (0.1, 0.28), (-0.14, 0.08), (0.1, -0.14), (0.0, -0.3)), 0.14),
        Mark(((-0.22, -0.3), (0.12, -0.42), (0.14, -0.12))),
    )),
    Sign("warning", (  # bumps
        Mark(((-0.5, 0.46), (-0.44, 0.2), (-0.26, 0.04), (-0.08, 0.2), (0.0, 0.32), (0.08, 0.2),
              (0.26, 0.04), (0.44, 0.2), (0.5, 0.46))),
    )),
    Sign("warning", (  # skidding
        *(_moved(mark, scale=0.9, y=-0.06) for mark in _car(0.0, BLACK)),
        Mark(((-0.26, 0.5), (-0.1, 0.4), (-0.22, 0.3), (-0.12, 0.2)), 0.07),
        Mark(((0.14, 0.5), (0.3, 0.4), (0.18, 0.3), (0.28, 0.2)), 0.07),
    )),
    Sign("warning", (  # narrowing on the right
        Mark(((-0.2, 0.5), (-0.2, -0.3)), 0.12),
        Mark(((0.3, 0.5), (0.3, 0.24), (0.08, 0.0), (0.08, -0.36)), 0.12),
    )),
    Sign("warning", (  # road works
        *_walker(-0.06, 0.85),
        Mark(((0.08, 0.1), (0.34, 0.3)), 0.08),
        Mark(((0.14, 0.5), (0.34, 0.24), (0.54, 0.5))),
    )),
    Sign("warning", (  # traffic lights
        Mark(((-0.18, 0.52), (-0.18, -0.36), (0.18, -0.36), (0.18, 0.52))),
        _dot(0.0, -0.2, 0.13, RED), _dot(0.0, 0.08, 0.13, YELLOW), _dot(0.0, 0.36, 0.13, GREEN),
    )),
    Sign("warning", (  # pedestrians
        *_walker(0.0, 0.9),
        *(Mark(((x, 0.54), (x + 0.1, 0.54)), 0.09) for x in (-0.55, -0.3, 0.2, 0.45)),
    )),
    Sign("warning", (*_walker(-0.2, 0.75), *_walker(0.22, 0.95))),
    Sign("warning", (  # bicycles
        _ring(-0.28, 0.3, 0.2, 0.07), _ring(0.28, 0.3, 0.2, 0.07),
        Mark(((-0.28, 0.3), (-0.1, 0.0), (0.18, 0.0), (0.0, 0.3), (-0.28, 0.3)), 0.07),
        Mark(((0.28, 0.3), (0.14, -0.16), (0.26, -0.18)), 0.07),
        Mark(((-0.2, -0.08), (-0.02, -0.08)), 0.07),
    )),
    Sign("warning", _SNOW),
    Sign("warning", (  # game
        Mark(((-0.36, 0.2), (-0.3, -0.04), (0.1, -0.06), (0.24, -0.34), (0.42, -0.2), (0.26, -0.08),
              (0.2, 0.2))),
        Mark(((-0.3, 0.14), (-0.44, 0.5)), 0.08), Mark(((-0.24, 0.14), (-0.2, 0.5)), 0.08),
        Mark(((0.12, 0.14), (0.34, 0.4)), 0.08), Mark(((0.16, 0.1), (0.46, 0.26)), 0.08),
        Mark(((0.26, -0.3), (0.06, -0.44)), 0.06), Mark(((0.26, -0.3), (0.2, -0.5)), 0.06),
    )),
    Sign("end", _STRIPES),
    _mirrored(_TURN_LEFT),
    _TURN_LEFT,
    Sign("mandatory", _arrow((0.0, 0.62), (0.0, -0.3))),
    _mirrored(_STRAIGHT_OR_LEFT),
    _STRAIGHT_OR_LEFT,
    _mirrored(_KEEP_LEFT),
    _KEEP_LEFT,
    Sign("mandatory", _ROUNDABOUT),
    Sign("end", _car(-0.31, GREY) + _car(0.31, GREY) + _STRIPES),
    Sign("end", _truck(-0.24, GREY, 0.8) + _car(0.42, GREY) + _STRIPES),
)  # fmt: skip


def draw_sign(label: int, *, size_px: int) -> Image.Image:
    """Draw the face of class `label`: RGBA, ``size_px`` x ``size_px``, clear around the plate.

    Raises:
        ValueError: If `label` is not in [0, 42] or `size_px` is not positive.
    """
    if not 0 <= label < CLASSES:
        raise ValueError(f"label must be in [0, {CLASSES - 1}]. Received: {label}")
    if size_px < 1:
        raise ValueError(f"size_px must be at least 1. Received: {size_px}")
    sign = SIGNS[label]
    image = Image.new("RGBA", (size_px * OVERSAMPLING,) * 2)
    for mark in PLATES[sign.plate]:
        _draw(image, mark)
    if sign.text:
        _write(image, sign)
    for mark in sign.marks:
        _draw(image, mark)
    return image.resize((size_px, size_px), Image.Resampling.BOX)


def _draw(image: Image.Image, mark: Mark) -> None:
    half, canvas = image.width / 2, ImageDraw.Draw(image)
    points = [(half * (1 + x), half * (1 + y)) for x, y in mark.points]
    if not mark.width:
        canvas.polygon(points, fill=mark.colour)
        return
    canvas.line(points, fill=mark.colour, width=round(half * mark.width), joint="curve")
    for x, y in (points[0], points[-1]):
        radius = half * mark.width / 2
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=mark.colour)


def _font(size_px: float) -> Any:
    """Load Pillow's own font; before Pillow 10.1 (Python 3.7) it has only one size, 11 pixels."""
    try:
        return ImageFont.load_default(size_px)
    except TypeError:
        return ImageFont.load_default()


def _write(image: Image.Image, sign: Sign) -> None:
    """Stretch the text of `sign` over its box in the middle of `image`."""
    font = _font(image.width / 2)
    stroke = image.width / 60 if FRACTIONAL_STROKES else round(image.width / 60)
    left, top, right, bottom = font.getbbox(sign.text, stroke_width=stroke)
    text = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)))
    ImageDraw.Draw(text).text((-left, -top), sign.text, fill=255, font=font, stroke_width=stroke)
    width, height = (round(side * image.width / 2) for side in TEXT_BOXES[len(sign.text)])
    corner = (image.width - width) // 2, (image.height - height) // 2
    image.paste(sign.text_colour, corner, text.resize((width, height)))
