"""The sessions of a project that pretends to measure: a record is made of its name, in a second.

It is the noxfile of a copy of the project. Its record is one that the real code reads and trusts.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from pathlib import Path

import nox

sys.path.insert(0, str(Path.cwd()))
nox.options.reuse_venv = "yes"  # as the real one: jobs at once share an environment

ROWS = ("tf-2.21", "tf-2.15")
SECONDS = (0.5, 2.0)  # that a seed takes: any moment is as good for a kill
REPORT = (
    '<testsuites><testsuite><properties><property name="framework" value="loaded"/></properties>'
    '<testcase classname="stand" name="in">{}</testcase></testsuite></testsuites>'
)
FAILING = "attack-lenet5"  # a case that a check finds wrong
CRASHING = "attack-vgg19-w0.25"  # a case that leaves no record


@nox.session
@nox.parametrize("row", [nox.param(name, id=name) for name in ROWS])
def benchmarks(session: nox.Session, row: str) -> None:
    run(session, row, tier="small", lock=row)


@nox.session(name="gpu-benchmarks")
@nox.parametrize("row", [nox.param(name, id=name) for name in ROWS])
def gpu_benchmarks(session: nox.Session, row: str) -> None:
    run(session, row, tier="full", lock=f"{row}-gpu")


def run(session: nox.Session, row: str, *, tier: str, lock: str) -> None:
    """Do what a row's session does, as far as a cluster sees it."""
    options = options_of(session.posargs)
    if "--install-only" in sys.argv:
        return
    case = options["-k"].removeprefix("[").removesuffix("-seed")
    for seed in options["--seeds"].split(","):
        pretend(row, case, int(seed), Path(options["--records"]), tier=tier, lock=lock)
    check = '<failure message="too good"/>' if case == FAILING else ""
    Path(options["--junitxml"]).write_text(REPORT.format(check))
    if case in (FAILING, CRASHING):
        session.error(f"{case} failed")


def options_of(given: list[str]) -> dict[str, str]:
    """Read options and their values."""
    text = " ".join(given)
    return dict(re.findall(r"(--?[\w-]+)[ =]([^\s-]\S*)", text))


def pretend(row: str, case: str, seed: int, records: Path, *, tier: str, lock: str) -> None:
    """Store a record that holds, after a while, if the data are there."""
    from suite.cases import probe_digest
    from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
    from suite.files import file_digest, measuring_digest
    from suite.judge.staleness import DATA
    from suite.records import SCHEMA_VERSION, Record, record_key
    from suite.store import store
    from suite.tables import asked

    for name in (TRAINING_ARCHIVE, TEST_ARCHIVE, TRUTH_ARCHIVE):
        assert Path(os.environ["GTSRB_ROOT"], name).read_bytes() == name.encode(), "no data"
    time.sleep(random.uniform(*SECONDS))
    if case == CRASHING:
        return
    asked_for = asked(tier)[case]
    settings = asked_for.settings()
    environment = {
        "versions": {"python": "3.11.7"},  # of both rows
        "library_digest": "sha256:11b",
        "threads": {},
        "instructions": "",
        "keras": {},
        "variables": {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "unset")},
        "lock_digest": file_digest(Path("locks", f"{lock}.txt")),
        "data_digest": DATA["gtsrb", "32"],
        "code_digest": measuring_digest(),
        **probe_digest(asked_for.question),
        "machine": {"fingerprint": "pretended"},
    }
    record = Record(
        schema=SCHEMA_VERSION, release=row, tier=tier, question=asked_for.question,
        case=case, seed=seed, key=record_key(settings, environment), settings=settings,
        environment=environment, metrics={"clean_accuracy": random.random()},
        curves={"step_loss": [random.random() for _ in range(20_000)]},
        statistics=[], timing={}, started_at="2026-01-01T00:00:00+00:00", wall_s=1.0,
    )  # fmt: skip
    store(record, records)
