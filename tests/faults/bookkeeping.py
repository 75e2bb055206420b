"""Faults of bookkeeping: records that are not there, edited, of something else, or stale.

They need no training: the records here are made up, five seeds of two cases on both sides, and lie
in folders as those of a run do. Unbroken, the gate says "no worse" of them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.files import measuring_digest
from suite.judge.gate.decide import decide
from suite.judge.gate.evidence import Side, dropped, gathered
from suite.judge.gate.finding import NO_WORSE
from suite.judge.staleness import DATA, Present
from suite.records import SCHEMA_VERSION, Record, json_digest, record_key
from suite.store import read_record, stored_cases, write_record
from suite.tables import asked
from tests.conftest import AROUND
from tests.faults.fault import Tampering
from tests.faults.score import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from suite.cases import Case
    from suite.judge.gate.finding import Answer


def digest(of: str) -> str:
    """Make up a digest that looks as the gate shows one."""
    return f"sha256:{json_digest(of)}"


TIER = "small"
OLD, NEW = "tf-2.15", "tf-2.21"
LOCKS = {OLD: digest("lock of the old"), NEW: digest("lock of the new")}
SEEDS = range(5)
CASES = ("lenet5-plain", "lenet5-intended-none")
LOST = "adversarial_information_gain"
GONE = "retired"  # a folder beside those of the releases
GROUP = "bookkeeping"
EVIDENCE = "evidence"
"""In the place of a layer: what the gate says of the records themselves."""

DEVIATION = 0.003  # of every metric over the seeds
METRICS = {
    "clean_accuracy": 0.9,
    "adversarial_accuracy": 0.7,
    "information_gain": 3.0,
    "adversarial_information_gain": 2.1,
    "clean_branch_gain": 3.1,
    "adversarial_branch_gain": 2.0,
}


@functools.lru_cache(maxsize=None)
def code() -> str:
    """Compute the digest of the code that measures, once."""
    return measuring_digest()


def made_up(folder: Path) -> None:
    """Write the records of both releases below a folder."""
    for number, release in enumerate((OLD, NEW)):
        for name in CASES:
            for seed in SEEDS:
                record = record_of(release, asked(TIER)[name], seed, shift=number)
                write_record(record, place(folder, release, name, seed))


def place(folder: Path, release: str, case: str, seed: int) -> Path:
    """Give the path of a record."""
    return folder / release / TIER / f"{case}-seed{seed}.json"


def record_of(release: str, case: Case, seed: int, *, shift: int) -> Record:
    """Make up a record whose numbers are drawn from its release, case and seed."""
    rng = np.random.default_rng([seed, shift, len(str(case))])
    metrics = {name: mean + DEVIATION * rng.normal() for name, mean in METRICS.items()}
    environment = {
        "stack": "eager",
        "versions": {"python": "3.11.1"},
        **AROUND,
        "lock_digest": LOCKS[release],
        "data_digest": DATA[case.data, str(case.size_px)],
        "code_digest": code(),
        "machine": {"fingerprint": "one machine"},
    }
    settings = case.settings()
    return Record(
        schema=SCHEMA_VERSION, release=release, tier=TIER, question="training", case=str(case),
        seed=seed, key=record_key(settings, environment), settings=settings,
        environment=environment, metrics=metrics, curves={}, statistics=[], timing={},
        started_at=f"2026-01-0{shift + 1}T00:00:{seed:02}+00:00",
        wall_s=1.0 + seed + shift / 2 + CASES.index(str(case)) / 4,
    )  # fmt: skip


def side(folder: Path, release: str, cases: Mapping[str, Case]) -> Side:
    """Say what the records of a release must be."""
    now = Present(cases, LOCKS[release], "", {}, "3.11", code(), unchecked="")
    return Side(release, release, folder, TIER, {"training": [*SEEDS]}, now)


def answered(folder: Path) -> Answer:
    """Let the gate judge what lies in a folder, as its command does."""
    cases = {name: asked(TIER)[name] for name in CASES}
    if (folder / GONE).exists():  # the table of cases was edited
        del cases[CASES[1]]
    sides = [side(folder, release, cases) for release in (OLD, NEW)]
    found = [gathered(each, cases) for each in sides]
    expected = [(name, SEEDS) for name in cases]
    answer = decide(
        OLD, NEW, before=found[0].records, after=found[1].records,
        expected=expected, expected_before=expected,
    )  # fmt: skip
    missing = [text for evidence in found for text in evidence.missing]
    lost = dropped(stored_cases(folder / OLD / TIER), cases, where="its folder")
    return answer._replace(missing=[*missing, *lost, *answer.missing])


def said(answer: Answer) -> str:
    """Put together all that an answer says against a pass."""
    worse = (f.words for f in answer.findings if f.decision != NO_WORSE)
    return " ".join([*answer.missing, *worse])


def tampered(tampering: Tampering) -> Outcome:
    """Make up records, tamper with them and let the gate judge them."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made_up(Path(folder))
        tampering.tamper(Path(folder))
        answer = answered(Path(folder))
    found = Outcome(tampering.name, tampering.group, tampering.what)
    if answer.decision == NO_WORSE:
        return found._replace(seconds=time.perf_counter() - start)
    words = said(answer)
    return found._replace(
        layer=EVIDENCE, case="made up", words=words, seconds=time.perf_counter() - start,
        named=bool(re.search(tampering.named, words)),
    )  # fmt: skip


def rewritten(release: str, change: Callable[[Record], Record], seeds: Any = SEEDS) -> Any:
    """Read records, change them and write them as if they had been made so."""

    def tamper(folder: Path) -> None:
        for seed in seeds:
            path = place(folder, release, CASES[0], seed)
            write_record(change(read_record(path)), path)

    return tamper


def bereft(folder: Path) -> None:
    """Take a metric that decides out of the records of both sides."""
    for release in (OLD, NEW):
        rewritten(release, lambda record: dataclasses.replace(record, metrics={
            name: value for name, value in record.metrics.items() if name != LOST
        }))(folder)  # fmt: skip


def edited(folder: Path) -> None:
    """Change a number in the file of a baseline by hand."""
    path = place(folder, OLD, CASES[0], 2)
    content = json.loads(path.read_text())
    content["metrics"]["clean_accuracy"] -= 0.1
    path.write_text(json.dumps(content))


def removed(*names: tuple[str, str, int]) -> Callable[[Path], None]:
    """Remove records, each by its release, case and seed."""

    def tamper(folder: Path) -> None:
        for release, case, seed in names:
            place(folder, release, case, seed).unlink()

    return tamper


def copied(source: tuple[str, int], target: tuple[str, int]) -> Callable[[Path], None]:
    """Copy the file of a release and seed over that of another."""

    def tamper(folder: Path) -> None:
        paths = [place(folder, release, CASES[0], seed) for release, seed in (source, target)]
        shutil.copyfile(*paths)

    return tamper


def relabelled(folder: Path) -> None:
    """Copy the baseline's records in as the candidate's, with the names that are expected."""
    for seed in SEEDS:
        record = read_record(place(folder, OLD, CASES[0], seed))
        environment = {**record.environment, "lock_digest": LOCKS[NEW]}
        key = record_key(record.settings, environment)
        new = dataclasses.replace(record, release=NEW, environment=environment, key=key)
        write_record(new, place(folder, NEW, CASES[0], seed))


def deselected(folder: Path) -> None:
    """Take a case out of the table, while the stored baseline has it."""
    (folder / GONE).mkdir()


def keyed(record: Record, **environment: Any) -> Record:
    """Give a record another environment, and the key that belongs to it."""
    new = {**record.environment, **environment}
    return dataclasses.replace(record, environment=new, key=record_key(record.settings, new))


def reseeded(folder: Path) -> None:
    """Give a run's numbers a second time, as another seed's."""
    record = read_record(place(folder, NEW, CASES[0], 0))
    write_record(dataclasses.replace(record, seed=1), place(folder, NEW, CASES[0], 1))


def recased(folder: Path) -> None:
    """Give one case's runs a second time, as another case's."""
    settings = asked(TIER)[CASES[1]].settings()
    for seed in SEEDS:
        run = read_record(place(folder, NEW, CASES[0], seed))
        key = record_key(settings, run.environment)
        other = dataclasses.replace(run, case=CASES[1], settings=settings, key=key)
        write_record(other, place(folder, NEW, CASES[1], seed))


def resized(record: Record) -> Record:
    """Let the case have been trained for an epoch more."""
    settings = {**record.settings, "epochs": record.settings["epochs"] + 1}
    key = record_key(settings, record.environment)
    return dataclasses.replace(record, settings=settings, key=key)


BOOKKEEPING = [
    Tampering("books-case-dropped", GROUP, "All records of a case are removed.",
              removed(*((NEW, CASES[0], seed) for seed in SEEDS)), r"no record of it"),
    Tampering("books-seed-dropped", GROUP, "The record of one seed is removed.",
              removed((NEW, CASES[0], 3)), r"no record of seed 3"),
    Tampering("books-case-deselected", GROUP, "A case is taken out of the table.",
              deselected, r"no longer asked"),
    Tampering("books-baseline-edited", GROUP, "A number of the baseline is edited by hand.",
              edited, r"cannot be trusted|sha256|digest"),
    Tampering("books-metric-gone", GROUP, "A metric that decides is taken out of both sides.",
              bereft, rf"without {LOST}"),
    Tampering("books-other-seed", GROUP, "The file of a seed holds another seed's record.",
              copied((NEW, 0), (NEW, 1)), r"seed"),
    Tampering("books-seed-renamed", GROUP, "A run is kept twice, as two seeds.",
              reseeded, r"very numbers of seed 0"),
    Tampering("books-case-renamed", GROUP, "The runs of a case are kept twice, as two cases.",
              recased, r"is the run of the candidate's lenet5-"),
    Tampering("books-other-release", GROUP, "A file of the baseline lies with the candidate's.",
              copied((OLD, 0), (NEW, 0)), r"belongs to tf-2\.15"),
    Tampering("books-release-renamed", GROUP, "The baseline's runs are kept as the candidate's.",
              relabelled, r"is the run of the baseline's lenet5-plain"),
    Tampering("books-stale-code", GROUP, "The records were made by other code of the suite.",
              rewritten(NEW, lambda r: keyed(r, code_digest=digest("older code"))),
              r"the code that measures"),
    Tampering("books-stale-lock", GROUP, "The records were made under another lock.",
              rewritten(NEW, lambda r: keyed(r, lock_digest=digest("an older lock"))),
              r"the lock"),
    Tampering("books-other-data", GROUP, "The records were made from other data.",
              rewritten(NEW, lambda r: keyed(r, data_digest=digest("other data"))),
              r"the data"),
    Tampering("books-other-settings", GROUP, "The records were made in one epoch more.",
              rewritten(NEW, resized), r"epochs: 5, expected 4"),
    Tampering("books-key-kept", GROUP, "The environment is edited, and the key is not.",
              rewritten(NEW, lambda r: dataclasses.replace(r, environment={
                  **r.environment, "machine": {"fingerprint": "another machine"}})),
              r"the key"),
]  # fmt: skip
