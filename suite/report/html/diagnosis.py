"""The diagnosis of a network as a page: the finding, the evidence, what was tried, the fix."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.diagnose.causes.why import STALE_KL
from suite.diagnose.found import HEALTHY, OTHER, UNDECIDED, Diagnosis, LayerExamination
from suite.diagnose.remedies import remedy, setting
from suite.errors import SuiteError
from suite.files import write_atomically
from suite.report.diagnosis import TITLE_LENGTH, count, headline
from suite.report.html.page import render
from suite.report.html.table import LINES, POINTS, Table
from suite.report.text import printable

if TYPE_CHECKING:
    from suite.diagnose.callback import Look

NAMES_SHOWN, NAME_LENGTH = 40, 24  # layers, and characters of each, that fit below an axis
SUFFIXES = (".html", ".htm")
DISTANCES = ("mean shift", "log variance ratio", "symmetric KL")
LAYER_COLUMNS = (
    "layer", "place", "state", *DISTANCES, "momentum", "ran in", "updates", "half-life",
    "steps needed",
)  # fmt: skip
STYLES: Mapping[str, str] = {HEALTHY: "good", OTHER: "open", UNDECIDED: "open"}
"""Colour of the answer, by verdict; that of all other verdicts is "bad"."""


def diagnosis_page(
    found: Diagnosis, about: Mapping[str, Any], *, looks: Sequence[Look] = ()
) -> str:
    """Write a diagnosis as one page that asks nothing of any network.

    Args:
        found: What was found.
        about: What was examined, by the names of the command's options; "model" at least.
        looks: What was seen at the end of each epoch, if it was watched.
    """
    return render(
        "diagnosis.html",
        found=found,
        mood=STYLES.get(found.verdict, "bad"),
        headline=printable(headline(found), limit=TITLE_LENGTH),
        remedy=remedy(found),
        setting=setting(about),
        command=_command(about),
        facts=tuple(_facts(found, about)),
        classes=tuple(enumerate(about.get("class_names", ()))),
        evidence=tuple(_evidence(found)),
        attempts=_attempts(found),
        epochs=tuple(_epochs(looks)),
    )


def check_page(path: Path) -> None:
    """Refuse a page that could not be written in the end, before hours are spent on it.

    Raises:
        SuiteError: If its name is none of a page, or its folder is none.
    """
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise SuiteError(f"{path} is no name of a page. Name a file that ends in .html.")
    if path.parent.exists() and not path.parent.is_dir():
        raise SuiteError(f"{path.parent} is no folder. Name a file in one.")


def write_page(
    path: Path, found: Diagnosis, about: Mapping[str, Any], *, looks: Sequence[Look] = ()
) -> None:
    """Write the page of a diagnosis to a file.

    Raises:
        WriteError: If it cannot be written.
    """
    write_atomically(path, diagnosis_page(found, about, looks=looks).encode())


def page_at(path: str | Path, *, model: str = "network") -> Callable[[Any, Any], None]:
    """Make a function for the callback's ``report``, which writes the page when training ends.

    Args:
        path: Of the page; its name ends in .html.
        model: What the network is called in it.

    Raises:
        SuiteError: If `path` cannot be that of a page.
    """
    check_page(Path(path))

    def write(found: Diagnosis, looks: Sequence[Look]) -> None:
        write_page(Path(path), found, {"model": model}, looks=looks)

    return write


def _command(about: Mapping[str, Any]) -> str:
    """Write the command that makes the diagnosis again; empty if no command made it."""
    if "data" not in about:
        return ""
    given = {name: value for name, value in about.items() if name not in ("model", "class_names")}
    options = [(f"--{name}", str(value)) for name, value in given.items() if value is not None]
    words = ["nox", "-s", "diagnose", "--", about["model"]]
    return shlex.join([*words, *(word for option in options for word in option)])


def _facts(found: Diagnosis, about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was examined, and what the momentum needs."""
    yield "Network", str(about["model"])
    yield (
        "Examined",
        f"{found.images} images, {found.classes} classes, entropy of the labels "
        f"{found.label_entropy:.4g} nats",
    )
    if found.layers:
        yield "Steps that BatchNorm's momentum needs to fit these images", count(found.steps_needed)
    if found.steps_run:
        yield (
            f"Checked by running {found.steps_run} of them",
            f"symmetric KL predicted {found.predicted_kl:.3g}, measured {found.measured_kl:.3g}",
        )


def _evidence(found: Diagnosis) -> Iterator[Table]:
    """Yield the tables of the layers: BatchNorm's distances, outputs, weights."""
    if found.layers:
        yield _norms(found)
    if found.units:
        outputs = [(unit.layer, unit.kind, unit.variation, unit.magnitude) for unit in found.units]
        yield _by_layer(
            "What each layer puts out in the inference phase",
            ("layer", "kind", "variation", "magnitude"),
            outputs,
            note="variation: standard deviation over the images relative to the root mean square, "
            "0 where the image makes no difference; magnitude: root mean square.",
        )
    if found.weights:
        kinds = {True: "kernel", False: "BatchNorm's scale"}
        ratios = [(entry.layer, kinds[entry.kernel], entry.ratio) for entry in found.weights]
        yield _by_layer(
            "How large the weights of each layer are",
            ("layer", "kind", "size"),
            ratios,
            note="size: root mean square over that of He's initialisation; of BatchNorm's scale "
            "the root mean square itself.",
            series="kind",
        )


def _norms(found: Diagnosis) -> Table:
    """Make the table of the BatchNorm layers, in the order in which they run."""
    rows = [_norm(layer, starts=layer.layer == found.layer) for layer in found.layers]
    return _by_layer(
        "How far BatchNorm's moving statistics are from those of the images, layer by layer",
        (LAYER_COLUMNS[0], *LAYER_COLUMNS[2:]),
        rows,
        note="mean shift: standard deviations of the batch; log variance ratio: ln(moving / "
        "batch); symmetric KL: nats a channel; half-life, steps needed: training steps.",
        series="state",
        choose=DISTANCES,
    )


def _norm(layer: LayerExamination, *, starts: bool) -> tuple[Any, ...]:
    """Fill the row of one BatchNorm layer, but for its place."""
    return (
        layer.layer,
        "starts here" if starts else _state(layer),
        layer.mean_shift,
        layer.log_variance_ratio,
        layer.symmetric_kl,
        layer.momentum,
        layer.phase if layer.trainable else f"{layer.phase}, frozen",
        "?" if layer.updates_seen is None else layer.updates_seen,
        count(layer.half_life_steps),
        count(layer.steps_needed),
    )


def _state(layer: LayerExamination) -> str:
    """Say in a word whether a layer's statistics fit."""
    return "fits" if layer.symmetric_kl <= STALE_KL else "off"


def _by_layer(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    note: str,
    series: str = "",
    choose: Sequence[str] = (),
) -> Table:
    """Make a table with a row a layer, numbered by its place, and a point for each."""
    numbered = [(row[0], place, *row[1:]) for place, row in enumerate(rows, 1)]
    short = max(len(printable(str(row[0]))) for row in rows) <= NAME_LENGTH
    drawn = choose or tuple(name for name in columns if name in ("variation", "magnitude", "size"))
    broken = sum(not all(map(_finite, row)) for row in rows)
    if broken:
        note += f" Layers with a number that is not finite: {broken}; the table has them."
    return Table(
        caption=caption,
        columns=(columns[0], "place", *columns[1:]),
        rows=numbered,
        plot=POINTS,
        options={
            "x": "layer" if short and len(rows) <= NAMES_SHOWN else "place",
            "y": drawn[0],
            **({"choose": list(drawn)} if len(drawn) > 1 else {}),
            **({"series": series} if series else {}),
            "rules": [{"at": 0, "label": ""}],
        },
        note=note,
        height=6,
    )


def _finite(value: Any) -> bool:
    """True for text, and for numbers that are some."""
    return not isinstance(value, float) or math.isfinite(value)


def _attempts(found: Diagnosis) -> Table:
    """Make the table of what was tried, and what each trial gave."""
    tried = [
        (attempt.what, attempt.accuracy, attempt.information_gain, attempt.classes_predicted)
        for attempt in found.attempts
    ]
    return Table(
        "What was tried, one thing at a time, and what the network is worth then",
        ("changed", "accuracy", "information gain", "classes predicted"),
        [tuple(None if _missing(cell) else cell for cell in row) for row in tried],
        note="information gain: nats, of the labels' "
        f"{found.label_entropy:.4g}; empty where only the accuracy was measured.",
    )


def _missing(cell: Any) -> bool:
    """True for what was not measured."""
    return isinstance(cell, float) and math.isnan(cell)


def _epochs(looks: Sequence[Look]) -> Iterator[Table]:
    """Yield what was seen at the end of each epoch."""
    if not looks:
        return
    gains, distances = (
        ("inference phase", "training phase"),
        ("mean shift", "log variance ratio"),
    )
    rows = [(look.epoch, look.steps, look.verdict, *look[3:7]) for look in looks]
    told = ("epoch", "steps", "verdict")
    yield Table(
        "Information gain at the end of each epoch, in both phases (nats)",
        (*told, *gains),
        [row[:5] for row in rows],
        LINES,
        {"x": "steps", "y": list(gains), "label": "nats", "rules": [{"at": 0, "label": "chance"}]},
    )
    yield Table(
        "BatchNorm's layer that is farthest off, at the end of each epoch",
        (*told, *distances),
        [(*row[:3], *row[5:]) for row in rows],
        LINES,
        {"x": "steps", "y": list(distances), "label": "distance"},
        note="mean shift: standard deviations of the batch; log variance ratio: ln(moving / batch)",
    )
