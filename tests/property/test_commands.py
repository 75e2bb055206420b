"""Whatever a record of a stranger holds, a command gives its answer or says why it cannot."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.__main__ import main
from suite.files import file_digest, measuring_digest
from suite.judge.traps import TRAPS
from suite.records import encoded, json_digest
from tests.bounds import within
from tests.commands.test_parity import _entries
from tests.property.hostile import changed

HOME, LOCK = Path("tf-2.21", "small"), Path("locks", "tf-2.21.txt")
OLD = json.loads(Path("baselines", HOME, "resnet50-w0.25-intended-none-seed0.json").read_text())
NOW = {"code_digest": measuring_digest(), "lock_digest": file_digest(LOCK)}
STORED = {**OLD, "environment": {**OLD["environment"], **NOW}}


class Kind(NamedTuple):
    """Records of one question, and the commands that read them from RECORDS.

    Attributes:
        record: What one of them holds.
        releases: Whose folders hold it.
        commands: Names and options.
    """

    record: Mapping[str, Any]
    releases: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]


TRAINING = Kind(
    STORED,
    ("tf-2.21",),
    (
        ("compare", "--stale", "accept", "--partial"),
        ("compare", "--stale", "leave-out"),
        ("rebaseline", "--release", "tf-2.21", "--tier", "small"),
        ("results",),
        ("matrix", "--table"),
    ),
)
TRACES = Kind(
    {
        **STORED,
        "case": "parity-lenet5-intended",
        "question": "parity",
        "statistics": [entry for step in range(3) for entry in _entries(step, 3.5)],
    },
    ("tf-2.21", "tf-2.15"),
    (("parity", "--stale", "accept", "--partial"), ("matrix", "--table")),
)
CALLS = Kind(
    {
        **STORED,
        "case": "traps",
        "question": "traps",
        "statistics": [
            {"trap": trap.name, "outcome": trap.expected[-1][1], "detail": "seen"} for trap in TRAPS
        ],
    },
    ("tf-2.21",),
    (("matrix", "--table"), ("compare", "--stale", "accept")),
)
STUDIED = Kind({**STORED, "question": "fixes", "tier": "study"}, ("tf-2.21",), (("fix-table",),))


KINDS = {"training": TRAINING, "traces": TRACES, "calls": CALLS, "studied": STUDIED}
MEASURED = ("settings", "environment", "metrics", "curves", "statistics", "timing")
SEEDS = 5
FEW = settings(max_examples=max(4, settings.default.max_examples // 4))  # each runs commands
LONGEST = 20_000  # characters of a line that is printed


def _write(root: Path, content: Mapping[str, Any], *, release: str, seed: int) -> None:
    """Write a record with the digest that belongs to it, as anybody can."""
    own = {name: value for name, value in content.items() if name != "sha256"}
    own = encoded({**own, "release": release, "seed": seed})
    path = root / release / own["tier"] / f"{own['case']}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**own, "sha256": json_digest(own)}))


def _run(kind: Kind, hostile: Mapping[str, Any], place: Path) -> None:
    """Run every command of a kind on whole records of which the last one is hostile."""
    for release in kind.releases:
        for seed in range(SEEDS):
            last = (release, seed) == (kind.releases[-1], SEEDS - 1)
            _write(place / "records", hostile if last else kind.record, release=release, seed=seed)
    for name, *given_options in kind.commands:
        folder = ["--records", str(place / "records")]
        extra = ["--baselines", str(place / "baselines")] if name == "rebaseline" else []
        _check_end([name, *folder, *given_options, *extra])


def _check_end(arguments: list[str]) -> None:
    """Run a command; it must end in time, with a status and words of its own."""
    told, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(errors), within(60):
        status = main(arguments)
    text = told.getvalue() + errors.getvalue()
    assert status in (0, 1, 2)
    assert "Unforeseen" not in text, text[-1500:]
    assert not [line for line in text.split("\n") if not line.isprintable()]
    assert max(map(len, text.split("\n"))) < LONGEST


def test_whole_records_are_judged() -> None:
    for kind in KINDS.values():
        with TemporaryDirectory() as place:
            _run(kind, kind.record, Path(place))


FOUND = [  # each ended a command with an exception that was none of ours
    ("studied", "settings", {**STORED["settings"], "batch_size": None}),
    ("studied", "settings", {"architecture": "resnet50"}),
    ("training", "settings", {**STORED["settings"], "fix": ["none"]}),
    ("training", "metrics", {}),
    ("studied", "metrics", {}),
    ("studied", "curves", {}),
    ("traces", "statistics", [{**TRACES.record["statistics"][0], "digest": {}}]),
    ("traces", "statistics", [{"quantity": "gradient", "step": 0, "projections": [1.0]}]),
    ("calls", "statistics", [{"trap": TRAPS[0].name}]),
    ("calls", "environment", {**STORED["environment"], "versions": {"keras": [3]}}),
]


@pytest.mark.parametrize(("name", "part", "value"), FOUND)
def test_what_fuzzing_found_is_judged_or_named(name: str, part: str, value: Any) -> None:
    kind = KINDS[name]
    with TemporaryDirectory() as place:
        _run(kind, {**kind.record, part: value}, Path(place))


@FEW
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_hostile_record_among_whole_ones_is_judged_or_named(
    name: str, data: st.DataObject
) -> None:
    kind = KINDS[name]
    part = data.draw(st.sampled_from(MEASURED))
    hostile = {**kind.record, part: data.draw(changed(kind.record[part]))}
    with TemporaryDirectory() as place:
        _run(kind, hostile, Path(place))
