"""The diagnosis of a network as text, as JSON and as a figure."""

from __future__ import annotations

import io
import json
import math
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from suite.diagnose.found import HEALTHY, Diagnosis, LayerExamination, Unit, Weights
from suite.diagnose.remedies import remedy, setting
from suite.diagnose.trials import BATCH_STATISTICS, PRECISE_BN, Attempt, Evaluation, InputScale
from suite.networks.phases import INFERENCE, TRAINING
from suite.report.grid import text_grid
from suite.report.text import printable

SCHEMA = 1
LINE = 100  # characters, where the output is no terminal
LAYERS_SHOWN = 24  # on a screen; the JSON has all
NAMES_SHOWN = 32  # below a figure; more cannot be read
NAME_LENGTH = 40  # characters of a name in a figure
TITLE_LENGTH = 160  # of the figure's headline
DRAWN: dict[Any, Any] = {"text.usetex": False, "text.parse_math": True}
"""Settings of matplotlib: the powers of ten on its axes are formulas; names never are."""
LAYER_COLUMNS = (
    "layer",
    "ran in",
    "momentum",
    "updates",
    "half-life",
    "mean shift",
    "log variance ratio",
    "symmetric KL",
    "steps needed",
)

PHASE_COLUMNS = (
    "normalised by",
    "accuracy",
    "information gain",
    "cross-entropy",
    "classes predicted",
)

PHASE_NAMES: Mapping[str, str] = {
    INFERENCE: "inference phase",
    TRAINING: "training phase",
    BATCH_STATISTICS: "batch statistics",
    PRECISE_BN: "after precise-bn",
}

NOTHING: Mapping[str, Any] = {}
START = "*"
LEGEND = (
    "mean shift: standard deviations of the batch; log variance ratio: ln(moving / batch); "
    "symmetric KL: nats a channel; half-life, steps needed: training steps"
)


def diagnosis_text(
    diagnosis: Diagnosis,
    *,
    width: int | None = None,
    full: str = "",
    about: Mapping[str, Any] = NOTHING,
) -> str:
    """Show the diagnosis in words, then what was measured, for a terminal or a log.

    Args:
        diagnosis: What to show.
        width: Of the terminal in characters; None where there is none.
        full: Where all layers can be found, for the line below a shortened table.
        about: The options of the command by name, for the code that loads the network.
    """
    words = [_folded(sentence, width) for sentence in diagnosis.words]
    return "\n\n".join(
        [
            "\n".join(words),
            "\n".join(map(printable, _facts(diagnosis))),
            *_to_do(diagnosis, width, about),
            _evaluations(diagnosis, width),
            *_layers(diagnosis, width, full),
        ]
    )


def _to_do(diagnosis: Diagnosis, width: int | None, about: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to do, and its code to paste."""
    chosen = remedy(diagnosis)
    if diagnosis.verdict != HEALTHY:
        yield _folded(f"What to do: {chosen.words}", width)
    if chosen.code:
        yield textwrap.indent(f"{setting(about)}\n{chosen.code}".rstrip(), "    ")


def headline(diagnosis: Diagnosis) -> str:
    """Say in short the verdict, its cause and the layer that starts it."""
    cause = f": {diagnosis.cause}" if diagnosis.cause else ""
    layer = f", from {diagnosis.layer} on" if diagnosis.layer else ""
    return f"{diagnosis.verdict}{cause}{layer}"


def _facts(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the findings one by one: what a reader looks for first."""
    yield f"verdict       {headline(diagnosis)}"
    if diagnosis.verdict != HEALTHY:
        yield f"try first     {diagnosis.fix or 'no fix of BatchNorm'}"
    if diagnosis.layers:
        yield f"steps needed  {count(diagnosis.steps_needed)}{_check(diagnosis)}"
    yield (
        f"examined      {diagnosis.images} images, {diagnosis.classes} classes, entropy of the "
        f"labels {diagnosis.label_entropy:.4g} nats"
    )


def _check(diagnosis: Diagnosis) -> str:
    """Say how the steps needed were checked."""
    if not diagnosis.steps_run:
        return ""
    return (
        f" ({diagnosis.steps_run} run to check: symmetric KL {_number(diagnosis.measured_kl)}, "
        f"predicted {_number(diagnosis.predicted_kl)})"
    )


def _evaluations(diagnosis: Diagnosis, width: int | None) -> str:
    """Make the table of what the predictions are worth, one line an evaluation."""
    rows = [
        (PHASE_NAMES.get(name, name), *_evaluation(found))
        for name, found in diagnosis.evaluations.items()
    ]
    return text_grid(PHASE_COLUMNS, rows, whole=PHASE_COLUMNS[:1], width=width)


def _evaluation(found: Evaluation) -> tuple[str, ...]:
    """Fill the cells of one evaluation."""
    return (
        f"{found.accuracy:.3f}",
        _number(found.information_gain),
        _number(found.cross_entropy),
        str(found.classes_predicted),
    )


def _layers(diagnosis: Diagnosis, width: int | None, full: str) -> Iterator[str]:
    """Yield the table of the layers in order, or of the worst alone in a long network."""
    layers = diagnosis.layers
    if not layers:
        yield "No BatchNorm layer was examined."
        return
    shown = layers if len(layers) <= LAYERS_SHOWN else _worst(layers)
    rows = [_layer(layer, starts=layer.layer == diagnosis.layer) for layer in shown]
    yield text_grid(LAYER_COLUMNS, rows, width=width)
    notes = [LEGEND]
    if diagnosis.layer in {layer.layer for layer in shown}:
        notes.append(f"{START} where it starts")
    if len(shown) < len(layers):
        where = f"; all in {full}" if full else ""
        notes.append(f"the {len(shown)} worst of {len(layers)} layers, worst first{where}")
    yield "\n".join(_folded(note, width) for note in notes)


def _folded(text: str, width: int | None) -> str:
    """Fold a sentence; its further lines are indented, so that no name in it begins one."""
    return textwrap.fill(printable(text), width or LINE, subsequent_indent="  ")


def _worst(layers: Sequence[LayerExamination]) -> list[LayerExamination]:
    """Pick the layers whose statistics are farthest off, worst first; NaN is worse than any."""

    def distance(layer: LayerExamination) -> float:
        return math.inf if math.isnan(layer.symmetric_kl) else layer.symmetric_kl

    return sorted(layers, key=distance, reverse=True)[:LAYERS_SHOWN]


def _layer(layer: LayerExamination, *, starts: bool) -> tuple[str, ...]:
    """Fill the cells of one layer."""
    return (
        f"{layer.layer} {START}" if starts else layer.layer,
        layer.phase if layer.trainable else f"{layer.phase}, frozen",
        f"{layer.momentum:g}",
        "?" if layer.updates_seen is None else str(layer.updates_seen),
        count(layer.half_life_steps),
        _number(layer.mean_shift),
        _number(layer.log_variance_ratio),
        _number(layer.symmetric_kl),
        count(layer.steps_needed),
    )


def _number(value: float) -> str:
    """Write a measured number in short."""
    return f"{value:.3g}" if math.isfinite(value) else str(float(value))


def count(steps: float) -> str:
    """Write a number of steps, rounded up."""
    if math.isnan(steps):
        return "?"
    if math.isinf(steps):
        return "never"
    return str(math.ceil(steps)) if steps >= 1 else _number(steps)


def diagnosis_json(diagnosis: Diagnosis, about: Mapping[str, Any]) -> str:
    """Write the diagnosis as strict JSON; what is not finite is "nan", "inf" or "-inf".

    Args:
        diagnosis: What to store.
        about: Which network was examined, on which images; JSON values.
    """
    content = {"schema": SCHEMA, "about": about, **diagnosis_content(diagnosis)}
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def diagnosis_content(diagnosis: Diagnosis) -> dict[str, Any]:
    """Write a diagnosis in JSON's own types; what is not finite is "nan", "inf" or "-inf"."""
    content: dict[str, Any] = _plain(diagnosis)
    return content


def diagnosis_of(content: Mapping[str, Any]) -> Diagnosis:
    """Make a diagnosis of what `diagnosis_content` wrote.

    Raises:
        TypeError: If fields are missing or unknown.
        ValueError: If a number is none.
    """
    values = _with_numbers(content, texts=("verdict", "cause", "layer", "fix", "next"))
    parts = {
        "words": tuple(content["words"]),
        "evaluations": {
            name: Evaluation(**_with_numbers(found))
            for name, found in content["evaluations"].items()
        },
        "layers": _rows(LayerExamination, content["layers"], texts=("layer", "phase")),
        "attempts": tuple(map(_attempt, content["attempts"])),
        "weights": _rows(Weights, content["weights"], texts=("layer",)),
        "units": _rows(Unit, content["units"], texts=("layer", "kind")),
    }
    return Diagnosis(**{**values, **parts})


def _rows(kind: Any, rows: Sequence[Mapping[str, Any]], *, texts: Collection[str]) -> Any:
    """Make a tuple of one kind of record."""
    return tuple(kind(**_with_numbers(row, texts)) for row in rows)


def _attempt(content: Mapping[str, Any]) -> Attempt:
    """Make what was tried, with the conversion of the images if there is one."""
    scale = content["scale"] and InputScale(**content["scale"])
    return Attempt(**{**_with_numbers(content, texts=("what", "kind")), "scale": scale})


def _with_numbers(content: Mapping[str, Any], texts: Collection[str] = ()) -> dict[str, Any]:
    """Make numbers of the strings that stand for those that are not finite."""
    return {
        name: float(value) if isinstance(value, str) and name not in texts else value
        for name, value in content.items()
    }


def _plain(value: Any) -> Any:
    """Convert `value` to JSON's own types."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else str(float(value))
    return str(value)


def diagnosis_figure(diagnosis: Diagnosis, path: Path) -> bytes:
    """Draw a diagnosis in the format that the suffix of `path` names.

    Above stand the layers in the order in which they run; below, what the predictions are worth.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    from matplotlib import rc_context  # noqa: PLC0415 - a diagnosis is worth its words alone

    content = io.BytesIO()
    with rc_context(DRAWN):
        drawn = _drawn(diagnosis)
        drawn.savefig(content, format=path.suffix.lstrip(".").lower(), dpi=120)
    return content.getvalue()


def _drawn(diagnosis: Diagnosis) -> Any:
    """Draw the figure."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure: Any = Figure(figsize=(10, 9 if diagnosis.layers else 3.5), layout="constrained")
    if diagnosis.layers:
        above, below = figure.subfigures(2, 1, height_ratios=(2, 1))
        _draw_layers(above, diagnosis)
        _draw_evaluations(below, diagnosis)
    else:
        _draw_evaluations(figure, diagnosis)
    title = printable(headline(diagnosis), limit=TITLE_LENGTH)
    figure.suptitle(title, parse_math=False)
    return figure


PANELS = (
    ("mean_shift", "mean shift\n(batch std)", "symlog"),
    ("log_variance_ratio", "ln(moving variance\n/ batch variance)", "linear"),
    ("symmetric_kl", "symmetric KL\n(nats a channel)", "symlog"),
)
"""Field of a layer, name of its axis and its scale, which must show 0: statistics that fit."""

MEASURED, FAULT, GREY = "#0072b2", "#d55e00", "0.6"


def _draw_layers(figure: Any, diagnosis: Diagnosis) -> None:
    """Draw the three distances of every layer over its place in the network."""
    layers = diagnosis.layers
    names = [layer.layer for layer in layers]
    places = range(len(layers))
    axes = figure.subplots(len(PANELS), 1, sharex=True)
    for axis, (field, label, scale) in zip(axes, PANELS):
        _draw_distances(axis, [float(getattr(layer, field)) for layer in layers], scale)
        axis.set_ylabel(label)
    if diagnosis.layer in names:
        _mark_start(axes, diagnosis.layer, names.index(diagnosis.layer), late=len(names) / 2)
    if len(names) <= NAMES_SHOWN:
        shown = [printable(name, limit=NAME_LENGTH) for name in names]
        look = {"rotation": 45, "ha": "right", "fontsize": "small", "parse_math": False}
        axes[-1].set_xticks(places, shown, **look)
    broken = any(
        not math.isfinite(getattr(layer, panel[0])) for layer in layers for panel in PANELS
    )
    aside = "; x: not a finite number" if broken else ""
    axes[-1].set_xlabel(f"BatchNorm layers in the order in which they run{aside}")


def _mark_start(axes: Sequence[Any], layer: str, place: int, *, late: float) -> None:
    """Mark the layer that starts it; its name stands to the left of a `late` place."""
    for axis in axes:
        axis.axvline(place, color=FAULT, linewidth=6, alpha=0.3)
    side = "right" if place > late else "left"
    text, where = f"starts at {printable(layer, limit=NAME_LENGTH)}", (place, 1.02)
    look = {"color": FAULT, "ha": side, "parse_math": False}
    axes[0].annotate(text, where, xycoords=("data", "axes fraction"), **look)


def _draw_distances(axis: Any, values: Sequence[float], scale: str) -> None:
    """Draw one distance of all layers; what is not finite is a cross at the upper edge."""
    finite = [value if math.isfinite(value) else math.nan for value in values]
    broken = [place for place, value in enumerate(values) if not math.isfinite(value)]
    axis.axhline(0, color=GREY, linewidth=1)
    axis.plot(range(len(values)), finite, "o-", color=MEASURED, linewidth=1, markersize=4)
    axis.plot(broken, [0.95] * len(broken), "x", color=FAULT, transform=axis.get_xaxis_transform())
    if scale == "symlog":
        axis.set_yscale(scale, linthresh=0.1)
    low, high = axis.get_ylim()  # at least 1 is shown: less must not look like much
    axis.set_ylim(0 if scale == "symlog" else min(low, -1), max(high, 1))
    axis.set_xlim(-0.5, len(values) - 0.5)


def _draw_evaluations(figure: Any, diagnosis: Diagnosis) -> None:
    """Draw accuracy and information gain under each set of statistics."""
    names = [PHASE_NAMES.get(name, name) for name in diagnosis.evaluations]
    found = diagnosis.evaluations.values()
    accuracy, gain = figure.subplots(1, 2, sharey=True)
    _draw_bars(accuracy, names, [evaluation.accuracy for evaluation in found])
    accuracy.set_xlim(0, 1.15)  # room for the number of a full bar
    accuracy.set_xlabel("accuracy")
    _draw_bars(gain, names, [evaluation.information_gain for evaluation in found])
    gain.axvline(diagnosis.label_entropy, color=GREY, linestyle="--", linewidth=1)
    gain.axvline(0, color=GREY, linewidth=1)
    gain.set_xlabel("information gain (nats; dashed: entropy of the labels)")
    accuracy.invert_yaxis()


def _draw_bars(axis: Any, names: Sequence[str], values: Sequence[float]) -> None:
    """Draw one bar a name with its number."""
    lengths = [value if math.isfinite(value) else 0.0 for value in values]
    bars = axis.barh(names, lengths, color=MEASURED)
    axis.bar_label(bars, [_number(value) for value in values], padding=3)
    axis.margins(x=0.2)
