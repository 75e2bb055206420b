"""Drawn signs that look photographed: a stand-in for GTSRB that needs no download."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from suite.data.cache import cached_dataset
from suite.data.signs import draw_sign
from suite.data.split import CLASSES, TEST_COUNTS, TRAIN_COUNTS, Dataset, Split, class_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES_PER_TRACK = 30
"""As in GTSRB: one sign is seen about 30 times, on one background, in one light."""

SMALLEST_PX = 8
"""In smaller images the faces all look the same."""

HAZE_RATE, SHADE_RATE = 0.3, 0.2
"""Share of the tracks in haze, and of the frames with a shadow or a leaf in front of the sign."""

FACE_SCALE, SCENE_SCALE = 3, 2
"""Faces and scenes are drawn so many times larger than the image that is made of them."""


class Scene(NamedTuple):
    """What the frames of one track have in common.

    Attributes:
        background: ``(3 * size_px, 3 * size_px)`` pixels, larger than any frame.
        gain: ``(3,)``, factor on each channel: light and colour cast.
        haze: Brightness that haze adds to every channel, in [0, 255].
        detail: Share of the image's resolution that is left at this distance, in (0, 1].
    """

    background: Image.Image
    gain: NDArray[np.float64]
    haze: float
    detail: float


def load_synthetic(
    *, size_px: int, seed: int = 0, train_count: int = 8600, test_count: int = 2150
) -> Dataset:
    """Render signs of GTSRB's 43 classes in its class proportions, or load them from the cache.

    The same arguments give the same bytes under the same Pillow. The test images show other
    signs, in other places, than the training images.

    Args:
        size_px: Side of the images, in pixels; at least 8.
        seed: Decides everything random; at least 0.
        train_count: Number of training images; at least one of each class.
        test_count: Number of test images; at least one of each class.

    Raises:
        DataError: If the cache cannot be written or is damaged.
        ValueError: If `size_px` is below 8, `seed` is negative, or a count is below 43.
    """
    if size_px < SMALLEST_PX:
        raise ValueError(f"size_px must be at least {SMALLEST_PX}. Received: {size_px}")
    if seed < 0:
        raise ValueError(f"seed must not be negative. Received: {seed}")
    for name, count in (("train_count", train_count), ("test_count", test_count)):
        if count < CLASSES:
            raise ValueError(f"{name} must be at least {CLASSES}. Received: {count}")

    def make() -> tuple[Split, Split]:
        train = _render_split(class_shares(TRAIN_COUNTS, train_count), (seed, 0), size_px)
        test = _render_split(class_shares(TEST_COUNTS, test_count), (seed, 1), size_px)
        return train, _as_test(test, np.random.default_rng((seed, 2)))

    key = {"arguments": [size_px, seed, train_count, test_count]}
    return cached_dataset("synthetic", key, make)


def _as_test(split: Split, rng: np.random.Generator) -> Split:
    """Shuffle and number `split`, and forget its tracks, as in GTSRB's test set."""
    order = rng.permutation(len(split.labels))
    names = np.array([f"synthetic/{number:05d}" for number in range(len(order))])
    return Split(split.images[order], split.labels[order], np.full_like(order, -1), names)


def _render_split(counts: NDArray[np.int64], stream: tuple[int, int], size_px: int) -> Split:
    """Render `counts` images of each class, every track from a random stream of its own."""
    labels = np.repeat(np.arange(len(counts)), counts)
    frames = np.concatenate([np.arange(count) for count in counts])
    signs = frames // FRAMES_PER_TRACK
    tracks = np.cumsum((frames % FRAMES_PER_TRACK) == 0) - 1
    images = np.empty((len(labels), size_px, size_px, 3), np.uint8)
    for track in range(tracks[-1] + 1):
        rng = np.random.default_rng((*stream, track))
        rows = np.flatnonzero(tracks == track)
        scene = _scene(rng, size_px)
        for row in rows:
            images[row] = _frame(rng, scene, int(labels[row]), size_px)
    places = zip(labels, signs, frames % FRAMES_PER_TRACK)
    names = [f"synthetic/{label:05d}/{sign:05d}_{frame:05d}" for label, sign, frame in places]
    return Split(images, labels, tracks, np.array(names))


@lru_cache(maxsize=CLASSES)
def _face(label: int, size_px: int) -> Image.Image:
    return draw_sign(label, size_px=size_px)


def _scene(rng: np.random.Generator, size_px: int) -> Scene:
    """Draw the place and the light of one track: often dim, sometimes hazy or tinted."""
    light = rng.uniform(0.2, 1.35)
    return Scene(
        background=_background(rng, 3 * size_px),
        gain=light * rng.uniform(0.9, 1.1, 3),
        haze=rng.uniform(0, 110) * (rng.random() < HAZE_RATE),
        detail=rng.uniform(0.4, 1.0),
    )


def _background(rng: np.random.Generator, side: int) -> Image.Image:
    """Draw clutter: coarse blotches of sky, leaves or walls, with posts and leaves in front."""
    base = rng.uniform(30, 220) + rng.normal(0, 18, 3)
    blotches = np.clip(base + rng.normal(0, 40, (6, 6, 1)) + rng.normal(0, 8, (6, 6, 3)), 0, 255)
    image = Image.fromarray(blotches.astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    canvas = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 16)):
        colour = tuple(
            int(value) for value in np.clip(base + rng.normal(0, 60) + rng.normal(0, 20, 3), 0, 255)
        )
        (x, y), (width, height) = (
            rng.uniform(0, side, 2),
            rng.uniform(0.03, 0.35, 2) * side,
        )
        shape = rng.integers(0, 3)
        if shape == 0:
            canvas.ellipse((x, y, x + width, y + height), fill=colour)
        elif shape == 1:
            canvas.rectangle((x, y, x + width, y + height), fill=colour)
        else:
            end = tuple(rng.uniform(0, side, 2))
            canvas.line((x, y, *end), fill=colour, width=max(1, round(float(width) / 4)))
    return image.filter(ImageFilter.GaussianBlur(side / 120))


def _frame(rng: np.random.Generator, scene: Scene, label: int, size_px: int) -> NDArray[np.uint8]:
    """Render one image of a scene, ``(size_px, size_px, 3)``, with the sign near its middle."""
    side = SCENE_SCALE * size_px
    left, top = rng.integers(0, scene.background.width - side + 1, 2)
    image = scene.background.crop((left, top, left + side, top + side))
    face = _face(label, FACE_SCALE * size_px)
    posed = face.transform(
        (side, side),
        Image.Transform.PERSPECTIVE,
        _pose(rng, side, face.width),
        Image.Resampling.BILINEAR,
    )
    image.paste(posed, mask=posed.getchannel("A"))
    if rng.random() < SHADE_RATE:
        _shade(rng, image)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.3) * side / 64))
    coarse = max(6, round(scene.detail * size_px))
    image = image.resize((coarse, coarse), Image.Resampling.BOX)
    image = image.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return _exposed(rng, scene, np.asarray(image))


def _pose(rng: np.random.Generator, side: int, face_side: int) -> tuple[float, ...]:
    """Draw the pose of a face, turned, tilted and shifted: Pillow's eight coefficients of it."""
    scale = 1 / rng.uniform(0.62, 0.95)  # faces fill this share of the frame
    stretch, shear = rng.uniform(0.88, 1.12), rng.normal(0, 0.05)
    turn = rng.normal(0, 0.09)  # the sine of the angle; its cosine is 1 to within a hundredth
    shift_x, shift_y = rng.normal(0, 0.06, 2)
    tilt_x, tilt_y = rng.uniform(-0.16, 0.16, 2)
    # From frame to face, in units where both span [-1, 1].
    matrix = np.array(
        [
            [scale * stretch, scale * (turn + shear), shift_x],
            [-scale * turn, scale, shift_y],
            [tilt_x, tilt_y, 1.0],
        ]
    )
    to_units = np.array([[2 / side, 0, -1], [0, 2 / side, -1], [0, 0, 1]])
    to_face = np.array(
        [
            [face_side / 2, 0, face_side / 2],
            [0, face_side / 2, face_side / 2],
            [0, 0, 1],
        ]
    )
    pixels = to_face @ matrix @ to_units
    return tuple((pixels / pixels[2, 2]).flat[:8].tolist())


def _shade(rng: np.random.Generator, image: Image.Image) -> None:
    """Darken a random triangle of `image`: the shadow of a tree, or a leaf in front of the sign."""
    corners = [tuple(point) for point in rng.uniform(0, image.width, (3, 2))]
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(corners, fill=int(rng.integers(60, 170)))
    image.paste((25, 30, 20), mask=mask)


def _exposed(
    rng: np.random.Generator, scene: Scene, pixels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Apply the scene's light, this frame's exposure and the camera's noise to `pixels`."""
    gain = scene.gain * rng.uniform(0.85, 1.15)
    lit = (pixels * gain) * (1 - scene.haze / 255) + scene.haze
    noise = rng.normal(0, rng.uniform(1, 7), pixels.shape)
    return np.clip(lit + noise, 0, 255).astype(np.uint8)
