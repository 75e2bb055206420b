"""Pages to look at: reports and diagnoses of real numbers, and of records made odd on purpose."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from suite.commands.report import main as write_report
from suite.diagnose.callback import Look
from suite.diagnose.found import Unit, Weights
from suite.diagnose.trials import Attempt
from suite.records import Record, encoded, json_digest
from suite.releases import read_releases
from suite.report.html.diagnosis import write_page
from suite.store import read_record
from tests.conftest import record_of
from tests.report.test_diagnosis import diagnosis, layer

ROOT = Path(__file__).parents[2]
NASTY = '<img src=x onerror="window.planted = 1"><b>"\'&amp;{{ 7 * 7 }}\u202eabc\u2066\u0627\x1b[2J'
SHOWN = "&amp;{{ 7 * 7 }}\\u202eabc\\u2066\u0627\\x1b[2J"
"""What a name may hold that must be seen and do nothing, and how its end is written."""

CHOSEN = (
    "lenet5-intended-none", "resnet50-w0.25-intended-none", "resnet50-w0.25-literal-none",
    "resnet50-w0.25-intended-bn-momentum-0.5", "parity-lenet5-intended", "step-time-lenet5",
    "attack-lenet5",
)  # fmt: skip
"""The cases of the baselines that the report's tests are made of."""


def stored(release: str, *, seeds: int = 5) -> list[Record]:
    """Read some of the cases of a stored baseline."""
    folder = ROOT / "baselines" / release / "small"
    names = (f"{case}-seed{seed}.json" for case in CHOSEN for seed in range(seeds))
    return [read_record(folder / name) for name in names if (folder / name).exists()]


def whole(record: Record) -> Record:
    """Give a record of a training what fresh ones have: curves, layers over time, predictions."""
    if record.question != "training":
        return record
    rng = np.random.default_rng(record.seed)
    fall = 3.5 * np.exp(-np.arange(120) / 40)
    loss = {name: list(fall + rng.uniform(0, 0.2, 120)) for name in
            ("step_clean_ce", "step_adversarial_ce")}  # fmt: skip
    hits = {f"step_{side}_accuracy": list(1 - fall / 3.5) for side in ("clean", "adversarial")}
    layers = [row for row in record.statistics if "layer" in row and "step" not in row]
    over_time = [
        {**row, "step": step, "mean_shift": row["mean_shift"] * step / 120}
        for step in (30, 60, 120)
        for row in layers
    ]
    told = [{"label": label, "predicted": {str(label): 18, "14": 2}} for label in (3, 14, 38)]
    rows = [*layers, *over_time, *told, example(rng)]
    return replace(record, curves={**record.curves, **loss, **hits}, statistics=rows)


def example(rng: np.random.Generator, *, label: Any = 14) -> dict[str, Any]:
    """Draw an image, clean and perturbed, with what a network might say of it."""
    clean = rng.integers(8, 247, (32, 32, 3), dtype=np.uint8)
    moved = (clean + rng.integers(-3, 4, clean.shape)).astype(np.uint8)
    packed = [base64.b64encode(zlib.compress(image.tobytes())).decode() for image in (clean, moved)]
    said = {str(label): 0.93, "38": 0.05, "3": 0.01}
    return {
        "image": packed[0], "perturbed": packed[1], "size_px": 32, "label": label,
        "clean_probabilities": said, "perturbed_probabilities": said,
    }  # fmt: skip


def put(records: Iterable[Record], root: Path) -> None:
    """Write records below a folder, without waiting for the disk."""
    for record in records:
        content = encoded({field.name: getattr(record, field.name) for field in fields(record)})
        path = root / record.release / record.tier / f"{record.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**content, "sha256": json_digest(content)}))


def report(folder: Path, records: Iterable[Record], *options: str) -> Path:
    """Write the report of records alone."""
    put(records, folder / "records")
    (folder / "none").mkdir(exist_ok=True)
    page = folder / "report.html"
    places = ("--records", str(folder / "records"), "--baselines", str(folder / "none"))
    write_report([*places, "--output", str(page), *options])
    return page


def usual(folder: Path) -> Path:
    """Write the report of two releases, as it is after an upgrade run."""
    return report(folder, [whole(r) for row in ("tf-2.21", "tf-2.15") for r in stored(row)])


def hostile(folder: Path) -> Path:
    """Write the report of records whose every free text is hostile, and of files named so."""
    record = whole(next(r for r in stored("tf-2.21") if r.case == "resnet50-w0.25-intended-none"))
    layers = [{"layer": NASTY, "mean_shift": 2.0, "log_variance_ratio": -1.0, "step": 5}]
    told = [{"label": NASTY, "predicted": {NASTY: 3, "</script>": 2}}]
    rows = [*layers, *told, example(np.random.default_rng(0), label=NASTY), {NASTY: NASTY}]
    odd = replace(
        record,
        metrics={**record.metrics, NASTY: 0.5},
        curves={**record.curves, NASTY: [1.0, 2.0]},
        statistics=rows,
        environment={**record.environment, "versions": {NASTY: NASTY}},
        settings={**record.settings, "weights": NASTY, NASTY: NASTY},
    )
    strange = folder / "records" / "tf-2.21" / "small" / f"{NASTY}.json"
    strange.parent.mkdir(parents=True)
    strange.write_text("[]")
    (folder / "records" / NASTY / NASTY).mkdir(parents=True)
    verdict = folder / f"{NASTY}.json"
    verdict.write_text(json.dumps({"schema": NASTY}))
    return report(folder, [odd], "--verdict", str(verdict))


def broken(folder: Path) -> Path:
    """Write the report of trainings that diverged, of one seed, and of a file of another schema."""
    records = [whole(record) for record in stored("tf-2.21", seeds=1)]
    records += [whole(record) for record in stored("tf-2.15", seeds=1)[:2]]
    odd = [
        replace(
            record,
            metrics=dict.fromkeys(record.metrics, math.nan),
            curves={
                name: [math.nan, math.inf, *curve[2:]] for name, curve in record.curves.items()
            },
            statistics=[
                {"layer": "bn", "mean_shift": math.nan, "log_variance_ratio": -math.inf},
                {"layer": "bn", "mean_shift": math.inf, "log_variance_ratio": 1e300, "step": 3},
            ],
        )
        for record in records
    ]
    former = folder / "records" / "tf-2.21" / "small" / "old-seed0.json"
    former.parent.mkdir(parents=True)
    former.write_text(json.dumps({"schema": 0, "case": "old"}))
    return report(folder, odd)


def empty(folder: Path) -> Path:
    """Write the report of a folder in which nothing can be read."""
    place = folder / "records" / "tf-2.21" / "small"
    place.mkdir(parents=True)
    (place / "lenet5-plain-seed0.json").write_text("{")
    return report(folder, [])


def every_row(folder: Path) -> Path:
    """Write the report of eighteen releases."""
    rows = [row.name for row in read_releases()]
    records = [whole(record) for record in stored("tf-2.21", seeds=2)]
    return report(folder, (replace(record, release=row) for row in rows for record in records))


def ten_thousand(folder: Path) -> Path:
    """Write the report of 10,000 records: 200 cases of ten releases, five seeds each."""
    rows = [row.name for row in read_releases()][:10]
    made = (
        record_of(f"net-{case:03}", seed, release=row, metrics={"clean_accuracy": case / 200})
        for row in rows
        for case in range(200)
        for seed in range(5)
    )
    page = report(folder, made)
    assert sum(1 for _ in (folder / "records").rglob("*.json")) == 10_000
    return page


ABOUT: Mapping[str, Any] = {
    "model": "net.keras", "data": "images", "split": None, "inputs": "0..1", "size": None,
    "output": None, "images": 256, "batch": 32, "seed": 0,
    "class_names": ["stop", "yield", "ahead"],
}  # fmt: skip
LOOKS = [
    Look(n, 40 * n, "stale statistics", 0.02 * n, 0.3 * n, 4 / n, -3 / n, {}) for n in (1, 2, 3)
]


def diagnosed(folder: Path) -> Path:
    """Write the diagnosis of a network with seventeen layers of BatchNorm, watched in training."""
    names = [f"conv{stage}_block1_{place}_bn" for stage in range(2, 6) for place in (0, 1, 2, 3)]
    layers = tuple(
        layer(name, mean_shift=2.1 - place / 9, log_variance_ratio=7.4 - place / 2.4,
              symmetric_kl=520 / (1 + place) ** 3, steps_needed=900.0 / (1 + place))
        for place, name in enumerate(["conv1_bn", *names])
    )  # fmt: skip
    found = diagnosis(
        layers=layers, layer="conv1_bn", attempts=ATTEMPTS,
        units=tuple(Unit(each.layer, "BatchNormalization", 0.9, 1.1) for each in layers),
        weights=tuple(Weights(each.layer, n % 2 == 0, 1 + n / 9) for n, each in enumerate(layers)),
    )  # fmt: skip
    write_page(folder / "diagnosis.html", found, ABOUT, looks=LOOKS)
    return folder / "diagnosis.html"


ATTEMPTS = (
    Attempt("nothing: the network as it is, in the inference phase", 0.059, -0.01, 1),
    Attempt("all moving statistics recomputed on these images", 0.555, 1.89, 31),
    Attempt("only the moving means recomputed", 0.06, 0.0, 2),
    Attempt("a linear head fitted to the pixels (by chance 5.9%)", 0.31, math.nan, None),
)


def hostile_diagnosis(folder: Path) -> Path:
    """Write the diagnosis of a network whose every name is hostile, and whose numbers are none."""
    layers = tuple(
        layer(f"{NASTY}{n}", mean_shift=math.nan, log_variance_ratio=math.inf, symmetric_kl=1e30)
        for n in range(3)
    )
    found = diagnosis(
        layers=layers, layer=layers[0].layer, cause=NASTY, words=(f"Of {NASTY}.", "x" * 9999),
        attempts=(Attempt(NASTY, math.nan, math.inf, 1),), units=(Unit(NASTY, NASTY, 0.0, 1e300),),
        weights=(Weights(NASTY, True, math.inf),),
    )  # fmt: skip
    about = {**ABOUT, "model": NASTY, "data": NASTY, "class_names": [NASTY] * 43}
    write_page(folder / "diagnosis.html", found, about, looks=LOOKS)
    return folder / "diagnosis.html"


def bare_diagnosis(folder: Path) -> Path:
    """Write the diagnosis of 400 layers without BatchNorm, of which no code mends anything."""
    units = tuple(Unit(f"dense_{n}", "Dense", 0.5, 1.0) for n in range(400))
    found = diagnosis(0, verdict="something else", cause="not trained", layer="", fix="",
                      units=units)  # fmt: skip
    write_page(folder / "diagnosis.html", found, {"model": "sequential"})
    return folder / "diagnosis.html"


PAGES: Mapping[str, Callable[[Path], Path]] = {
    make.__name__: make
    for make in (usual, hostile, broken, empty, diagnosed, hostile_diagnosis, bare_diagnosis)
}
"""The pages that every check is made of, by name."""
