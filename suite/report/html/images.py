"""Images of an example: clean, perturbed, and what lies between, as files within the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from suite.report.html.runs import Example

LEVELS = 255.0
MIDDLE = 128.0  # grey: the pixel did not change


class Picture(NamedTuple):
    """One image with what belongs to it.

    Attributes:
        source: A data address.
        alt: What it shows, for those who do not see it.
        caption: The same in short, and what the network says.
    """

    source: str
    alt: str
    caption: str


def pictures(example: Example) -> list[Picture]:
    """Give the clean image, the perturbation and the perturbed image, each with its caption."""
    change = example.perturbed.astype(np.float64) - example.clean
    largest = float(np.abs(change).max())
    scaled = MIDDLE + change * ((LEVELS - MIDDLE) / largest if largest else 0.0)
    size = f"at most {largest / LEVELS:.3g} of a pixel's range"
    clean, perturbed = map(_said, example.said)
    return [
        Picture(
            _address(example.clean),
            f"Clean test image of label {example.label}",
            f"Clean, label {example.label}. The network says {clean}.",
        ),
        Picture(
            _address(scaled),
            f"The perturbation, amplified to the whole range: {size}",
            f"Perturbation, {size}, shown amplified; grey is no change.",
        ),
        Picture(
            _address(example.perturbed),
            f"The same image with the perturbation, label {example.label}",
            f"Perturbed. The network says {perturbed}.",
        ),
    ]


def said(example: Example) -> list[str]:
    """Say in words what the network says of an example, for a page that has no room for images."""
    clean, perturbed = map(_said, example.said)
    return [
        f"Of a clean test image of label {example.label} the network says {clean}; perturbed, "
        f"{perturbed}. The images are shown for the rows that the answer is about."
    ]


def _said(found: Mapping[str, float]) -> str:
    """Write the most probable labels."""
    return ", ".join(f"{label} ({value:.1%})" for label, value in found.items()) or "nothing"


def _address(image: np.ndarray) -> str:
    """Write an image as the address of a PNG that is within it."""
    content = io.BytesIO()
    Image.fromarray(np.clip(np.rint(image), 0, LEVELS).astype(np.uint8)).save(
        content, format="PNG", optimize=True
    )
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
