"""Tests of the page of a diagnosis: the answer first, all that was measured, and nothing live."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

import pytest

from suite.diagnose.callback import Look
from suite.diagnose.found import Diagnosis, Unit, Weights
from suite.diagnose.trials import Attempt, InputScale
from suite.report.html.diagnosis import diagnosis_page
from tests.report.html.conftest import assert_in_order
from tests.report.test_diagnosis import FORGED, HEALED, diagnosis, layer

ABOUT = {
    "model": "net.keras", "data": "my images", "split": None, "inputs": "0..1", "size": None,
    "output": None, "images": 256, "batch": 32, "seed": 0, "class_names": ["stop", "yield"],
}  # fmt: skip
TRIED = (
    Attempt("nothing", 0.052, -0.01, 1),
    Attempt("images fed otherwise", 0.7, 2.5, 40, InputScale("[0, 1]", "[0, 255]", False)),
    Attempt("a linear head", 0.4, math.nan, None),
)


def page(found: Diagnosis | None = None, about: Any = ABOUT, **more: Any) -> str:
    return diagnosis_page(found or diagnosis(attempts=TRIED), about, **more)


def body(text: str) -> str:
    """Give what a page has between its style and its scripts."""
    return text.partition("</head>")[2].partition("<script>")[0]


def plots(text: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in re.findall(r"data-options='([^']*)'", text)]


def test_the_answer_comes_first_then_the_evidence_the_trials_and_the_fix() -> None:
    text = body(page())
    parts = [
        "<h1>stale statistics: stale mean, from bn3 on</h1>",
        "<p>The statistics do not fit.</p>",
        "Evidence, layer by layer",
        "What was tried",
        "The fix: precise-bn",
        "recompute_statistics(model, images, batch_size=32)",
        "What was examined",
    ]
    assert_in_order(text, parts)
    assert '<section id="finding" class="answer bad">' in text
    assert '<section id="finding" class="answer good">' in page(diagnosis(start=9, **HEALED))


def test_every_layer_has_its_row_with_where_it_starts() -> None:
    rows = re.findall(r"<tr><th>(bn\d+)((?:<td>[^<]*)*)", page(diagnosis(60)))
    assert [name for name, _ in rows] == [f"bn{place}" for place in range(60)]
    cells = [re.findall("<td>([^<]*)", row) for _, row in rows]
    assert [row[1] for row in cells[:5]] == ["fits", "fits", "fits", "starts here", "off"]
    assert cells[3] == [
        "4", "starts here", "12.5", "9.8", "397", "0.99", "training", "300", "69", "459",
    ]  # fmt: skip


def test_layers_are_named_below_the_axis_where_their_names_can_be_read() -> None:
    assert plots(page())[0]["x"] == "layer"
    assert plots(page(diagnosis(60)))[0]["x"] == "place"
    assert plots(page(diagnosis(layers=(layer("x" * 99),))))[0]["x"] == "place"
    assert plots(page())[0]["choose"] == ["mean shift", "log variance ratio", "symmetric KL"]


def test_every_trial_has_its_row() -> None:
    text = page()
    for cells in (
        ("nothing", "0.052", "-0.01", "1"),
        ("images fed otherwise", "0.7", "2.5", "40"),
        ("a linear head", "0.4", "", ""),
    ):
        first, *rest = cells
        row = f"<th>{first}" + "".join(f"<td>{cell}" for cell in rest)
        assert row in text


def test_outputs_and_weights_are_evidence_too() -> None:
    units = (Unit("conv", "Conv2D", 0.5, 2.0), Unit("head", "Dense", 0.0, 1.0))
    weights = (Weights("conv", True, 1.5), Weights("bn", False, 0.7))
    text = page(diagnosis(0, layer="head", units=units, weights=weights))
    assert "<tr><th>head<td>2<td>Dense<td>0<td>1" in text
    assert "<td>BatchNorm&#39;s scale<td>0.7" in text
    assert "No BatchNorm layer was examined." in text


def test_what_is_not_finite_is_written_and_counted() -> None:
    layers = (layer("a", mean_shift=math.nan), layer("b", symmetric_kl=math.inf), layer("c"))
    text = page(diagnosis(layers=layers, layer=""))
    assert "Layers with a number that is not finite: 2;" in text
    assert "<td>nan<" in text
    assert "<td>inf<" in text
    assert re.findall("<td>(off|fits)<", text) == ["fits", "off", "fits"]


def test_looks_become_curves() -> None:
    looks = [Look(epoch, 10 * epoch, "healthy", 0.1, 0.2, 3.0, -4.0, {}) for epoch in (1, 2)]
    text = page(looks=looks)
    gains, distances = [plot for plot in plots(text) if plot["x"] == "steps"]
    assert gains["y"] == ["inference phase", "training phase"]
    assert "<td>20<td>healthy<td>0.1<td>0.2" in text
    assert "<td>20<td>healthy<td>3<td>-4" in text
    assert distances["y"] == ["mean shift", "log variance ratio"]
    assert "Over the epochs" not in page()


def test_the_command_makes_it_again_and_only_a_command_has_one() -> None:
    command = "nox -s diagnose -- net.keras --data &#39;my images&#39; --inputs 0..1 --images 256"
    assert f"{command} --batch 32 --seed 0<" in page()
    assert "nox -s diagnose" not in body(page(about={"model": "net"}))
    assert "# `model` is your network" in page(about={"model": "net"})


@pytest.mark.parametrize(
    "name",
    [FORGED, "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202e\u0627\x00",
     "{{ 7 * 7 }}", "</code></pre>", "x" * 9999, "' onclick='a"],
)  # fmt: skip
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    found = diagnosis(
        layers=(layer(name), layer("bn1")), layer=name, words=(f"Of {name}.",), cause=name,
        attempts=(Attempt(name, 0.1, 0.1, 1),), units=(Unit(name, name, 1.0, 1.0),),
        weights=(Weights(name, True, 1.0),),
    )  # fmt: skip
    about = {**ABOUT, "model": name, "data": name, "class_names": [name]}
    text = page(found, about)
    plain = body(page(diagnosis(layers=(layer("a"), layer("bn1")), units=found.units[:1],
                                weights=found.weights, attempts=found.attempts)))  # fmt: skip
    assert re.findall(r"<(/?\w+)", body(text)).count("script") == 0
    assert re.findall("<img", body(text)) == []
    assert not re.search(r"<[^>]*\son\w+=", body(text))
    assert body(text).count("<pre") == plain.count("<pre") == 2
    signs = {sign for sign in body(text) if unicodedata.category(sign) in ("Cc", "Cf", "Cs")}
    assert signs <= {"\n"}
    assert len(body(text)) < 150_000


def test_no_template_of_a_stranger_runs() -> None:
    text = page(diagnosis(words=("{{ 7 * 7 }} {% raw %}",)))
    assert "<p>{{ 7 * 7 }} {% raw %}</p>" in text
