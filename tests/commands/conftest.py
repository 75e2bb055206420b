"""A project of a few releases and one case, to which records of the present can be added."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from suite import tables
from suite.cases import PLAIN, Case, probe_digest
from suite.files import file_digest, measuring_digest
from suite.judge.staleness import DATA
from suite.locks import inputs, lock_of
from suite.records import Record
from suite.releases import Release, read_releases
from suite.store import store
from suite.tables import asked

if TYPE_CHECKING:
    from typing import TypeAlias

MakeRecord: TypeAlias = "Callable[..., Record]"
Fill: TypeAlias = "Callable[..., None]"
Output: TypeAlias = "pytest.CaptureFixture[str]"

VALUES = [0.80, 0.82, 0.79, 0.81, 0.83]
ROWS = ("tf-2.21", "tf-2.15", "tf-2.16", "tf-1.14")
NIGHTLY = "tf-nightly"
OF_BUNDLES = "keras3-torch-installed"  # unpinned too, and of GPUs alone
PIN = "numpy==2.0.0"  # as the records say
CASES = {
    "accuracy": (Case("lenet5", loss=PLAIN),),
    "parity": (Case("lenet5", loss=PLAIN, question="parity"),),
    "traps": (Case("resnet50", question="traps"),),
}
PLAIN_CASE, TRACE = "lenet5-plain", "parity-lenet5-plain"
LOCK = b"torch==2\n"  # of a bundle for a GPU
MADE_WITH = {
    "code_digest": "sha256:code", "data_digest": "sha256:64",
    "lock_digest": f"sha256:{hashlib.sha256(LOCK).hexdigest()}",
}  # fmt: skip
"""What a record states that such a bundle need not make again."""


def write_project(*more: str, pin: str = PIN) -> None:
    """Write the release table of a project into the working directory."""
    rows = [
        f'[[tool.suite.{table}]]\nname = "{name}"\npython = "3.11"\npins = ["{pin}"]\n'
        f'reason = "to test"\n{"unpinned = true" if name in (NIGHTLY, OF_BUNDLES) else ""}\n'
        for table, names in (
            ("releases", (*ROWS, NIGHTLY, *more)),
            ("gpu-releases", (*ROWS[:1], OF_BUNDLES)),
        )
        for name in names
    ]
    head = '[project]\ndependencies = []\n[tool.uv]\n[tool.suite]\ndefault = "tf-2.21"\n'
    Path("pyproject.toml").write_text(head + "".join(rows), encoding="utf-8")


def write_locks(*, pin: str = PIN) -> None:
    """Write the locks of all releases as if uv had resolved them."""
    for table in ("releases", "gpu-releases"):
        for row in read_releases(table=table):
            write_lock(row, f"{pin}\n# {row.lock}\n")


def write_lock(row: Release, body: str) -> None:
    """Write the lock of a row as if uv had resolved it to `body`."""
    head = [
        f"# {word} {hashlib.sha256(text.encode()).hexdigest()}\n"
        for word, text in (("inputs", inputs(lock_of(row))), ("content", body))
    ]
    lock_of(row).path.parent.mkdir(exist_ok=True)
    lock_of(row).path.write_text("".join([*head, body]))


@pytest.fixture
def fill(tmp_path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Return a function that stores one record a value, made with what is there now."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tables, "TABLES", CASES)
    write_project()
    write_locks()
    code = measuring_digest()

    def fill(root: str, values: list[float] = VALUES, **changes: Any) -> None:
        fields = {"case": PLAIN_CASE, "release": "tf-2.21", "tier": "small", **changes}
        case = asked(fields["tier"]).get(fields["case"])
        lock = f"locks/{fields['release']}{'-gpu' if fields['tier'] == 'full' else ''}.txt"
        environment = {
            "lock_digest": file_digest(Path(lock)) if Path(lock).exists() else "sha256:1",
            "code_digest": code,
            "data_digest": DATA["gtsrb", "32"],
            **(probe_digest(case.question) if case else {}),
            **fields.pop("environment", {}),
        }
        lasted = fields.pop("wall_s", 1.5)
        own = {"question": case.question, "settings": case.settings()} if case else {}
        for seed, value in enumerate(values):
            metrics = {"clean_accuracy": value}
            given = {**own, "metrics": metrics, "wall_s": lasted + seed / 64, **fields}
            store(make_record(seed=seed, environment=environment, **given), Path(root))

    return fill
