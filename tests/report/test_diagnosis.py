"""Tests of the diagnosis as text, JSON and figure."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from suite.diagnose.found import HEALTHY, VERDICTS, Diagnosis, LayerExamination
from suite.diagnose.trials import Evaluation
from suite.report.diagnosis import (
    LAYERS_SHOWN,
    diagnosis_content,
    diagnosis_figure,
    diagnosis_json,
    diagnosis_of,
    diagnosis_text,
)


def layer(name: str, **changes: Any) -> LayerExamination:
    content = {
        "layer": name, "momentum": 0.99, "epsilon": 1e-3, "trainable": True, "phase": "training",
        "updates_seen": 300, "half_life_steps": 68.97, "mean_shift": 0.05,
        "log_variance_ratio": 0.02, "symmetric_kl": 0.01, "steps_needed": 0.0,
    }  # fmt: skip
    return LayerExamination(**{**content, **changes})


def diagnosis(count: int = 5, *, start: int = 3, **changes: Any) -> Diagnosis:
    """Return that of a network whose statistics are off from one layer on."""
    off = {"mean_shift": 12.5, "log_variance_ratio": 9.8, "steps_needed": 458.2}
    layers = tuple(
        layer(f"bn{place}", **({**off, "symmetric_kl": 400.0 - place} if place >= start else {}))
        for place in range(count)
    )
    content = {
        "verdict": "stale statistics", "cause": "stale mean", "layer": f"bn{start}",
        "fix": "precise-bn", "steps_needed": 458.2, "steps_run": 300, "predicted_kl": 0.112,
        "measured_kl": 0.118, "words": ("The statistics do not fit.", "Try precise-bn first."),
        "evaluations": {
            "inference": Evaluation(0.052, -0.01, 3.51, 1),
            "training": Evaluation(0.463, 1.52, 1.98, 25),
        },
        "layers": layers, "images": 384, "classes": 43, "label_entropy": 3.4854,
    }  # fmt: skip
    return Diagnosis(**{**content, **changes})


HEALED = {"verdict": HEALTHY, "cause": "", "layer": "", "fix": "", "steps_run": 0}


def test_the_words_come_first_then_what_was_measured() -> None:
    text = diagnosis_text(diagnosis())
    assert text.startswith("The statistics do not fit.\nTry precise-bn first.\n\n")
    assert "verdict       stale statistics: stale mean, from bn3 on" in text
    assert "try first     precise-bn" in text
    assert "459 (300 run to check: symmetric KL 0.118, predicted 0.112)" in text
    assert "384 images, 43 classes, entropy of the labels 3.485 nats" in text
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines() if line}
    assert rows["inference phase"][2:] == ["0.052", "-0.01", "3.51", "1"]
    assert rows["bn0"][1:] == ["training", "0.99", "300", "69", "0.05", "0.02", "0.01", "0"]
    assert rows["bn3 *"][2:] == ["training", "0.99", "300", "69", "12.5", "9.8", "397", "459"]
    assert "* where it starts" in text


def test_a_healthy_network_is_told_no_fix() -> None:
    text = diagnosis_text(diagnosis(start=9, **HEALED, steps_needed=0.0))
    assert "verdict       healthy\n" in text
    assert "try first" not in text
    assert "steps needed  0\n" in text
    assert "*" not in text
    assert VERDICTS[0] == HEALTHY


def test_a_cause_without_a_fix_of_batch_norm_says_so() -> None:
    text = diagnosis_text(diagnosis(verdict="something else", cause="dead head", fix=""))
    assert "try first     no fix of BatchNorm" in text


def test_a_network_without_batch_norm_has_no_table_of_layers() -> None:
    text = diagnosis_text(diagnosis(0, layer=""))
    assert text.endswith("No BatchNorm layer was examined.")
    assert "steps needed" not in text


def test_what_is_unknown_or_never_ends_is_told_in_words() -> None:
    odd = layer(
        "bn", updates_seen=None, half_life_steps=math.inf, steps_needed=math.inf,
        trainable=False, phase="inference", mean_shift=math.nan,
    )  # fmt: skip
    cells = diagnosis_text(diagnosis(layers=(odd,), layer="")).splitlines()[-4].split()
    assert cells[:6] == ["bn", "inference,", "frozen", "0.99", "?", "never"]
    assert cells[6:] == ["nan", "0.02", "0.01", "never"]


def test_a_long_network_shows_its_worst_layers_and_tells_where_the_others_are() -> None:
    found = diagnosis(60, start=30)
    found = found._replace(layers=(*found.layers[:-1], layer("broken", symmetric_kl=math.nan)))
    text = diagnosis_text(found, full="out/diagnosis.json")
    table = text.partition("steps needed\n")[2].splitlines()[1 : LAYERS_SHOWN + 1]
    assert [line.split()[0] for line in table[:3]] == ["broken", "bn30", "bn31"]
    assert len(table) == LAYERS_SHOWN
    assert "the 24 worst of 60 layers, worst first; all in out/diagnosis.json" in text
    assert "bn5 " not in text


def test_a_narrow_terminal_is_not_overrun() -> None:
    lines = diagnosis_text(diagnosis(), width=80).splitlines()
    code = [line for line in lines if line.startswith("    ")]  # stays as it is to be pasted
    assert max(len(line) for line in lines if line not in code) <= 80
    assert any("recompute_statistics(model" in line for line in code)


def test_the_json_is_strict_and_whole() -> None:
    found = diagnosis(60, measured_kl=math.nan, steps_needed=math.inf, steps_run=np.int64(7))
    text = diagnosis_json(found, {"model": "net.keras", "class_names": ("a", "b")})

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    content = json.loads(text, parse_constant=refuse)
    assert content["about"] == {"model": "net.keras", "class_names": ["a", "b"]}
    assert (content["measured_kl"], content["steps_needed"], content["steps_run"]) == (
        "nan",
        "inf",
        7,
    )
    assert content["evaluations"]["training"]["information_gain"] == 1.52
    assert [row["layer"] for row in content["layers"]] == [f"bn{place}" for place in range(60)]
    assert set(content) == {"schema", "about", *Diagnosis._fields}
    assert content["layers"][0] == layer("bn0")._asdict()


def test_the_figure_is_what_its_suffix_says() -> None:
    pytest.importorskip("matplotlib", reason="figures need it, a diagnosis does not")
    png = diagnosis_figure(diagnosis(), Path("a.PNG"))
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (1200, 1080)
    svg = ElementTree.fromstring(diagnosis_figure(diagnosis(), Path("a.svg")))  # noqa: S314 - ours
    assert svg.tag.endswith("svg")


@pytest.mark.parametrize(
    "found",
    [
        diagnosis(1, start=0),
        diagnosis(60, start=50),
        diagnosis(0, layer=""),
        diagnosis(start=9, **HEALED),
        diagnosis(
            layers=tuple(
                layer(f"bn{n}", mean_shift=math.nan, log_variance_ratio=math.inf, symmetric_kl=1e30)
                for n in range(3)
            ),
            evaluations={"inference": Evaluation(0.1, math.nan, math.nan, 1)},
        ),
    ],
    ids=["one layer", "many layers", "no layer", "healthy", "not finite"],
)  # fmt: skip
def test_any_diagnosis_has_a_figure_without_a_warning(found: Diagnosis) -> None:
    pytest.importorskip("matplotlib", reason="figures need it, a diagnosis does not")
    assert len(diagnosis_figure(found, Path("a.png"))) > 5000


def drawn(monkeypatch: pytest.MonkeyPatch, found: Diagnosis) -> Any:
    """Return the figure of a diagnosis before it becomes a file."""
    figure = pytest.importorskip("matplotlib.figure", reason="figures need matplotlib")
    made: list[Any] = []
    save = figure.Figure.savefig

    def keep(self: Any, *arguments: Any, **options: Any) -> None:
        made.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(figure.Figure, "savefig", keep)
    diagnosis_figure(found, Path("a.png"))
    return made[0]


def test_the_figure_shows_the_layers_in_order_and_where_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shift, ratio, kl, accuracy, gain = drawn(monkeypatch, diagnosis()).axes
    for axis, values in ((shift, [0.05, 12.5]), (ratio, [0.02, 9.8])):
        line = next(line for line in axis.lines if line.get_marker() == "o")
        assert list(line.get_ydata()) == [values[0]] * 3 + [values[1]] * 2
    assert [text.get_text() for text in kl.get_xticklabels()] == [f"bn{n}" for n in range(5)]
    assert shift.texts[0].get_text() == "starts at bn3"
    assert [bar.get_width() for bar in accuracy.patches] == [0.052, 0.463]
    assert [bar.get_width() for bar in gain.patches] == [-0.01, 1.52]


def test_what_is_not_finite_is_a_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = (layer("bn0"), layer("bn1", symmetric_kl=math.inf))
    axes = drawn(monkeypatch, diagnosis(layers=layers, layer="")).axes
    crosses = next(line for line in axes[2].lines if line.get_marker() == "x")
    assert list(crosses.get_xdata()) == [1]
    assert "x: not a finite number" in axes[2].get_xlabel()


def test_a_diagnosis_is_what_its_content_says() -> None:
    broken = layer("nan", mean_shift=math.inf, log_variance_ratio=-math.inf, updates_seen=None)
    found = diagnosis(layers=(broken, layer("inf")), layer="nan", steps_needed=math.inf)
    content = json.loads(json.dumps(diagnosis_content(found)))
    assert diagnosis_of(content) == found
    assert math.isnan(diagnosis_of({**content, "predicted_kl": "nan"}).predicted_kl)
    for wrong in ({**content, "more": 1}, {k: v for k, v in content.items() if k != "images"}):
        with pytest.raises(TypeError):
            diagnosis_of(wrong)


FORGED = "bn\nverdict       healthy\x1b[2J\u202e $\\frac{$ $x$ <b>\ud800"


def test_a_name_forges_no_line_of_the_words() -> None:
    layers = (layer(FORGED), layer("bn1"))
    words = (f"The statistics of {FORGED} do not fit.",)
    text = diagnosis_text(diagnosis(layers=layers, layer=FORGED, words=words), full=FORGED)
    assert not any(line.startswith("verdict       healthy") for line in text.split("\n"))
    assert text.replace("\n", "").isprintable()
    assert text.count(r"bn\nverdict       healthy\x1b[2J\u202e") >= 2


@pytest.mark.parametrize("pad", range(60, 80))
def test_a_folded_name_begins_no_line(pad: int) -> None:
    name = f"{'a' * pad} verdict       healthy {'b' * 80}"
    text = diagnosis_text(diagnosis(words=(f"The statistics of {name} do not fit.",)))
    assert not any(line.startswith("verdict       healthy") for line in text.split("\n"))


@pytest.mark.parametrize("name", [FORGED, "$\\undefined$", "_^{}$", "x" * 9999, "&<>\0"])
def test_a_name_is_drawn_as_it_stands(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    figure = drawn(monkeypatch, diagnosis(layers=(layer(name), layer("bn1")), layer=name))
    label = figure.axes[2].get_xticklabels()[0]
    assert label.get_text().isprintable()
    assert len(label.get_text()) < 200
    assert not label.get_parse_math()
    assert not label.get_usetex()
    svg = diagnosis_figure(diagnosis(layers=(layer(name), layer("bn1")), layer=name), Path("a.svg"))
    assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314 - ours


def test_powers_of_ten_on_an_axis_are_drawn_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(monkeypatch, diagnosis(layers=(layer("$x$"), layer("bn1", symmetric_kl=400.0))))
    powers = [label for label in figure.axes[2].get_yticklabels() if "10^" in label.get_text()]
    assert powers
    assert all(label.get_parse_math() for label in powers)


def test_the_settings_of_matplotlib_at_home_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="figures need it, a diagnosis does not")
    with matplotlib.rc_context({"text.usetex": True, "text.parse_math": True}):
        figure = drawn(monkeypatch, diagnosis(layers=(layer("$x$"), layer("bn1"))))
        assert not figure.axes[2].get_xticklabels()[0].get_usetex()
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = drawn(monkeypatch, diagnosis())
        assert figure.axes[2].get_yticklabels()[0].get_parse_math()


def test_the_json_has_the_names_as_they_are() -> None:
    found = diagnosis(layers=(layer(FORGED),), layer=FORGED)
    text = diagnosis_json(found, {"class_names": [FORGED]})
    assert json.loads(text)["layer"] == FORGED
    assert json.loads(text)["about"]["class_names"] == [FORGED]
    assert text.replace("\n", "").isascii()
