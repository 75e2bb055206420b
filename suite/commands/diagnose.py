"""`diagnose`: what is wrong with a network of one's own, and what to do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.commands.apart import ask, tell
from suite.commands.options import (
    ERROR_STATUS,
    ILL_STATUS,
    check_figure,
    positive,
    seed,
    several,
)
from suite.diagnose import Diagnosis, diagnose
from suite.diagnose.found import HEALTHY, UNDECIDED
from suite.diagnose.images import INPUTS, TEST, TRAIN
from suite.diagnose.loading import keras_of, shown
from suite.diagnose.parts import place
from suite.diagnose.sources import opened
from suite.errors import SuiteError
from suite.files import write_atomically
from suite.report.diagnosis import (
    diagnosis_content,
    diagnosis_figure,
    diagnosis_json,
    diagnosis_of,
    diagnosis_text,
)
from suite.report.grid import terminal_width
from suite.report.text import printable
from suite.report.waiting import waiting

LIMIT_MIN = 60  # a large network on a slow processor; what hangs is ended
PYTHON = (3, 11)  # with add_note
ASKED = ("model", "data", "split", "inputs", "size", "output", "images", "batch", "seed")
"""The options that decide a diagnosis."""

EXAMINER = "suite.commands.diagnose:examined"


def main(arguments: Sequence[str]) -> int:
    """Print and store the diagnosis of a network; return 0 if it is healthy, 1 if it is not.

    2 where that cannot be told from these data.
    """
    options = _parser().parse_args(arguments)
    _check_python()
    check_figure(options.figure)
    if options.html:
        _check_page(options.html)
    given = {name: getattr(options, name) for name in ASKED}
    with waiting("the network is loaded") as show:
        answer = ask(EXAMINER, given, limit_s=60 * options.limit, show=show)
    found = diagnosis_of(answer["diagnosis"])
    return _report_diagnosis(found, options, classes=answer["classes"])


def _check_python() -> None:
    """Refuse a Python that this command is too new for; the function is not.

    Raises:
        SuiteError: If it is older than `PYTHON`.
    """
    if sys.version_info < PYTHON:
        raise SuiteError(
            f"the command needs Python {'.'.join(map(str, PYTHON))} or later. Found: Python "
            f"{sys.version.split()[0]} ({sys.executable}). Run `nox -s diagnose -- MODEL --data X`,"
            " which brings its own; or call suite.diagnose.diagnose(model, images, labels) in this "
            "Python, with TensorFlow 2."
        )


def examined(given: Mapping[str, Any]) -> dict[str, Any]:
    """Diagnose a network: by JSON values, since it is called in a process of its own.

    Args:
        given: The options `ASKED`, by name.

    Raises:
        SuiteError: If it cannot be diagnosed.
    """
    options = argparse.Namespace(**given)
    settings = {"batch_size": options.batch, "max_images": options.images, "seed": options.seed}
    try:
        model, images, labels, classes = opened(
            options.model, options.data, split=options.split, inputs=options.inputs,
            size_px=options.size, output=options.output, count=options.images, seed=options.seed,
        )  # fmt: skip
        found = diagnose(
            model,
            images,
            labels,
            keras=keras_of(model),
            output=options.output,
            begin=lambda part: tell(place(part)),
            **settings,
        )
    except ValueError as error:  # what is wrong with the images or the network, in its own words
        raise SuiteError(f"{options.model} cannot be diagnosed: {error}") from error
    except (GeneratorExit, KeyboardInterrupt, SystemExit) as error:  # of the user's own layers
        raise SuiteError(
            f"{options.model}: its own code ended the diagnosis. Found: {shown(error)}. Expected: "
            "layers that return what they compute, whatever they are called with."
        ) from error
    return {"diagnosis": diagnosis_content(found), "classes": classes}


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s diagnose --",
        description="Tell what BatchNorm does in a Keras network and what mends it. Ends with 0 if "
        "it is healthy, with 1 if something was found, with 2 if it cannot be told.",
    )
    parser.add_argument(
        "model", metavar="MODEL",
        help="a .keras or .h5 file, or PACKAGE.MODULE:FUNCTION that returns the network, or the "
        "network and the data",
    )  # fmt: skip
    _add_images(parser)
    parser.add_argument(
        "--batch", type=positive, default=32, metavar="N", help="that you train with (default: 32)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("diagnosis"), metavar="DIR",
        help="where diagnosis.json and the figure go (default: diagnosis)",
    )  # fmt: skip
    parser.add_argument(
        "--figure", type=Path, default=Path("diagnosis.png"), metavar="NAME",
        help="of the figure in it, a .png or .svg (default: diagnosis.png)",
    )  # fmt: skip
    parser.add_argument(
        "--html", type=Path, metavar="FILE",
        help="write a page there, too: the finding, the evidence, what was tried, the fix as code",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=positive, default=LIMIT_MIN, metavar="MIN",
        help=f"minutes after which it is given up (default: {LIMIT_MIN})",
    )  # fmt: skip
    return parser


def _add_images(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell which images a network is diagnosed with."""
    parser.add_argument(
        "--data", metavar="X",
        help="images in one folder a class, a folder of GTSRB, or gtsrb (GTSRB_ROOT, the "
        "download); a .npz of arrays (images and labels, or as the network's inputs are called); "
        "a folder of tf.data.Dataset.save; PACKAGE.MODULE:FUNCTION that returns arrays, a tf.data "
        "dataset, a Sequence or a generator of batches; left out where MODEL returns it",
    )  # fmt: skip
    parser.add_argument(
        "--split", choices=(TRAIN, TEST), help="of GTSRB, or of a .npz of both (default: test)"
    )
    parser.add_argument(
        "--inputs", choices=tuple(INPUTS),
        help="how you feed pixels (default: 0..1 of image files, arrays as they are); tf is -1 to "
        "1, caffe BGR less ImageNet's mean, torch standardised by ImageNet's, as in "
        "keras.applications",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="NAME", help="that the labels are of, where MODEL has several outputs"
    )
    parser.add_argument(
        "--size", type=positive, metavar="PX", help="side of the images, where MODEL takes any"
    )
    parser.add_argument(
        "--images", type=several, default=256, metavar="N", help="examined (default: 256)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the draw of images (default: 0)")


def _report_diagnosis(
    found: Diagnosis, options: argparse.Namespace, *, classes: Sequence[str]
) -> int:
    """Print a diagnosis, write its JSON, figure and page, and return the status."""
    page, figure = options.out / "diagnosis.json", options.out / options.figure
    about = {**{name: getattr(options, name) for name in ASKED}, "class_names": classes}
    print(diagnosis_text(found, width=terminal_width(), full=str(page), about=about))
    write_atomically(page, diagnosis_json(found, about).encode())
    if options.html:
        _write_page(options.html, found, about)
    try:
        write_atomically(figure, diagnosis_figure(found, figure))
        written = printable(f"{page}, {figure}")
    except ModuleNotFoundError:
        written = f"{printable(str(page))}\nno figure: pip install matplotlib"
    shown = f"{printable(str(options.html))}, " if options.html else ""
    print(f"\nwritten: {shown}{written}")
    return {HEALTHY: 0, UNDECIDED: ERROR_STATUS}.get(found.verdict, ILL_STATUS)


def _check_page(path: Path) -> None:
    """Refuse a page that could not be written in the end.

    Raises:
        SuiteError: If its name is none of a page, or what writes pages is not installed.
    """
    try:
        from suite.report.html.diagnosis import check_page  # noqa: PLC0415 - words do without
    except ModuleNotFoundError as error:
        raise SuiteError(
            f"a page needs {error.name}, which is not installed here: python -m pip install "
            f"{error.name}, or leave --html out."
        ) from error
    check_page(path)


def _write_page(path: Path, found: Diagnosis, about: Mapping[str, Any]) -> None:
    """Write the page of a diagnosis."""
    from suite.report.html.diagnosis import write_page  # noqa: PLC0415 - as above

    write_page(path, found, about)
