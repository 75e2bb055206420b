"""Staleness: what of a record's making is no longer what is there now."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from suite.cases import Case, probe_digest
from suite.errors import SuiteError
from suite.files import measuring_digest
from suite.libraries import PIN, installed, library_digest, site_packages
from suite.locks import lock_digest, lock_of, pins_of, staleness
from suite.records import Record, json_digest, record_key
from suite.releases import read_releases
from suite.tables import TIERS, asked

DATA: Mapping[tuple[str, str], str] = MappingProxyType(
    {("gtsrb", "32"): "sha256:87e268464bdf3019471b98e58aad349191b7cf06f7f762be92125dd05c023f30"}
)
"""Digests of the data that are known, by name and size in pixels: of the official images, and the
same on every machine. For other sizes the records of a tier can only be held against each other."""

DISTRIBUTIONS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly", "tf-nightly-cpu"),
        "keras": ("keras", "tf-keras", "keras-nightly"),
    }
)
"""The distributions that a package may come from, where its name does not tell."""

LIBRARIES = "the libraries"
SURROUNDINGS = ("keras", "threads", "variables")  # what a process rounds by, on one machine
STATED = ("library_digest", "python", "instructions", *SURROUNDINGS)  # by every run
SHOWN = len("sha256:") + 12  # characters of a digest in a message


class Present(NamedTuple):
    """What the records of one release and tier must have been made with, as it is now.

    Attributes:
        cases: The cases of the tier, by name.
        lock: Digest of the release's lock; empty where there is none that fits.
        fault: Why there is none; empty where there is one.
        pins: The versions that the release's row and its lock ask for, by package.
        python: The Python of the release, such as ``"3.11"``.
        code: Digest of the code that measures.
        libraries: Digest of the libraries that are installed for it; empty if that is not known.
        unchecked: Why that is not known; empty if it is.
    """

    cases: Mapping[str, Case]
    lock: str
    fault: str
    pins: Mapping[str, str]
    python: str
    code: str
    libraries: str = ""
    unchecked: str = "there is no environment of its lock"


class Difference(NamedTuple):
    """One thing in which a record is not of the present.

    Attributes:
        what: Its name.
        found: What the record has.
        expected: What is there now.
    """

    what: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.what}: {self.found}, expected {self.expected}"


def present(release: str, tier: str, *, environments: Path = Path(".nox")) -> Present:
    """Look up what the records of a release and tier must have been made with.

    Args:
        release: Name of the release.
        tier: A key of `suite.tables.TIERS`.
        environments: Where nox keeps them.

    Raises:
        ReleaseError: If the release table cannot be read.
        RecordError: If a source of the suite or the lock cannot be read.
    """
    name = "gpu-releases" if TIERS[tier].gpu else "releases"
    row = next((row for row in read_releases(table=name) if row.name == release), None)
    code = measuring_digest()
    if row is None:
        return Present(asked(tier), "", f"{release} is no row of the release table", {}, "", code)
    lock, digest = lock_of(row), lock_digest(row)
    fault = "" if digest else staleness(lock) or f"{lock.path} is missing"
    pins = {**pins_of(lock.path), **dict(PIN.findall("\n".join(row.pins)))}
    now = Present(asked(tier), digest, fault, pins, row.python, code)
    session = f"{'gpu-' if TIERS[tier].gpu else ''}benchmarks-{row}"
    return _with_libraries(now, environments / re.sub(r"[^\w-]", "-", session))


def _with_libraries(now: Present, environment: Path) -> Present:
    """Look up the libraries in an environment, if it is there and what the lock lists."""
    try:
        folder = site_packages(environment)
        found = installed(folder)
        if any(found.get(name) != version for name, version in now.pins.items()):
            return now._replace(unchecked=f"{environment} is not what the lock lists")
        return now._replace(libraries=library_digest(folder), unchecked="")
    except SuiteError as error:
        return now._replace(unchecked=str(error))


def differences(record: Record, now: Present) -> list[Difference]:
    """List everything in which a record is not of the present; nothing for one that still holds."""
    return [
        *_of_case(record, now.cases.get(record.case)),
        *_unstated(record),
        *_of_lock(record, now),
        *_of_digests(record, now),
    ]


def _of_case(record: Record, case: Case | None) -> Iterator[Difference]:
    """Yield in what the record's question and settings are not those of its case."""
    if case is None:
        yield Difference("the case", record.case, f"one of the {record.tier} tier")
        return
    if record.question != case.question:
        yield Difference("the question", repr(record.question), repr(case.question))
    settings = _settings(case)
    for name in sorted({*settings, *record.settings}):
        found, expected = (part.get(name, "absent") for part in (record.settings, settings))
        if found != expected:
            yield Difference(name, brief(found), brief(expected))


@functools.lru_cache(maxsize=None)
def _settings(case: Case) -> Mapping[str, Any]:
    """List the settings of a case, once for all of its records."""
    return MappingProxyType(case.settings())


def _unstated(record: Record) -> Iterator[Difference]:
    """Yield what a record leaves out of its making, though every run states it."""
    stated = {*record.environment, *({"python"} & {*record.environment["versions"]})}
    lost = [name for name in STATED if name not in stated]
    if lost:
        yield Difference("the environment", f"without {', '.join(lost)}", "all that a run states")


def _of_lock(record: Record, now: Present) -> Iterator[Difference]:
    """Yield in what the record's lock, or a version that it saw, is not the release's."""
    found = record.environment["lock_digest"]
    if found != now.lock:
        yield Difference("the lock", brief(found), brief(now.lock) if now.lock else now.fault)
    for name, version in record.environment["versions"].items():
        if not _fits(name, str(version), now):
            expected = " or ".join(_pinned(name, now)) or now.python
            yield Difference(f"the version of {name}", str(version), expected)


def _pinned(package: str, now: Present) -> list[str]:
    """List the versions that a package may have by the lock; none where the lock has no say."""
    names = DISTRIBUTIONS.get(package, (package,))
    return [now.pins[name] for name in names if name in now.pins]


def _fits(package: str, version: str, now: Present) -> bool:
    """True where a package's version is one that the lock holds, or the lock has no say."""
    if package == "python":
        return version.startswith(f"{now.python}.")
    pins = _pinned(package, now)
    own = version.endswith("-tf")  # TensorFlow's own Keras is no distribution
    return not pins or own or version.replace("-dev", ".dev") in pins  # as nightlies write it


def _of_digests(record: Record, now: Present) -> Iterator[Difference]:
    """Yield in what code, data or libraries are not those of now, or the record was edited."""
    environment = record.environment
    probes = probe_digest(record.question).get("probe_digest")
    for what, name, expected in (
        ("the code that measures", "code_digest", now.code),
        ("the code that probes", "probe_digest", probes),
        ("the data", "data_digest", _known_data(record)),
        (LIBRARIES, "library_digest", now.libraries),
    ):
        found = environment.get(name, "not stated")
        if expected and found != expected:
            yield Difference(what, brief(found), brief(expected))
    if record.key != record_key(record.settings, environment):
        yield Difference("the key", brief(record.key), "that of its settings and environment")


def must_share(record: Record) -> dict[str, str]:
    """Collect what all records of one release and tier must have been made with alike.

    Data that are known are held against what is known, and are not part of it. Threads and
    variables may be others on another machine, not on the same.
    """
    settings, environment = record.settings, record.environment
    found = {}
    if _known_data(record) is None:
        data = f"the data ({settings.get('data')}, {settings.get('size_px')} pixels)"
        found[data] = environment["data_digest"]
    if "library_digest" in environment:
        found[LIBRARIES] = str(environment["library_digest"])
    for name in SURROUNDINGS:
        if name in environment:
            text = json.dumps(environment[name], sort_keys=True)
            found[f"the {name} on machine {machine_of(record)}"] = text
    return found


def machine_of(record: Record) -> str:
    """Name the machine that a record was measured on: its fingerprint, and what it can compute.

    Two processors may bear one name, such as those of rented machines, and only one of them have
    AVX-512: then the end of the name, a digest of the instruction sets, is another.
    """
    environment = record.environment
    fingerprint = str(environment["machine"]["fingerprint"])
    if "instructions" not in environment:
        return fingerprint
    return f"{fingerprint}-{json_digest(environment['instructions'])[-4:]}"


def _known_data(record: Record) -> str | None:
    """Look up the digest that a record's data must have; None where it is not known."""
    settings = record.settings
    return DATA.get((str(settings.get("data")), str(settings.get("size_px"))))


def brief(value: Any) -> str:
    """Write a setting or the beginning of a digest."""
    text = str(value)
    return text[:SHOWN] if text.startswith("sha256:") else text
