"""The record: what one run of a case measured, in JSON values, and the key of what decided it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

SCHEMA_VERSION = 1  # of the layout of `Record`
DIGESTS = ("data_digest", "lock_digest", "code_digest")  # that every environment has
MADE = ("surrogate_digest",)
"""Digests of what a run made itself: its key covers all that they were made from, not them."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
_KEY = re.compile(r"[0-9a-f]{64}")
LEAVES = (float, int)  # thousands in a curve, which need no copy
NOT_FINITE = ("nan", "inf", "-inf")  # strict JSON has no such numbers: they are kept as strings


@dataclass(frozen=True)
class Record:
    """One run of one case: what decided it and what was measured. All fields are JSON values.

    Attributes:
        schema: Version of this layout, `SCHEMA_VERSION`.
        release: Name of a row of the release table, such as ``"tf-2.21"``.
        tier: The size of the case, a key of `suite.tables.TIERS` (checked by whoever makes the
            record).
        question: What was asked, one of `suite.cases.QUESTIONS` (checked likewise).
        case: Name of the case.
        seed: Seed of the run.
        key: `record_key` of everything that decides the result, except the seed.
        settings: The fields of the case.
        environment: ``versions``, ``lock_digest``, ``data_digest``, ``code_digest`` and
            ``machine``, which holds at least a ``fingerprint``.
        metrics: The numbers that are judged, by name; may be NaN or infinite.
        curves: One number per step or per epoch, by name; may be NaN or infinite.
        statistics: Rows of what was observed: one mapping per BatchNorm layer, entry or trap.
        timing: Times in seconds and rates, by name.
        started_at: Start of the run, ISO 8601 in UTC.
        wall_s: Duration of the run in seconds.

    Raises:
        ValueError: If a field has another type or lies outside its range.
    """

    schema: int
    release: str
    tier: str
    question: str
    case: str
    seed: int
    key: str
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[float]]
    statistics: Sequence[Mapping[str, Any]]
    timing: Mapping[str, Any]
    started_at: str
    wall_s: float

    def __post_init__(self) -> None:
        """Copy every field into plain JSON types, then check it."""
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name), field.name))
        _check_record(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Record:
        """Make a record of parsed JSON that nobody else holds, which needs no copying.

        Args:
            content: A value for each field.

        Raises:
            ValueError: If a field has another type or lies outside its range.
        """
        record = object.__new__(cls)
        for name, value in content.items():
            object.__setattr__(record, name, value)
        _check_record(record)
        return record

    @property
    def name(self) -> str:
        """The case and the seed: the stem of the record's file."""
        return f"{self.case}-seed{self.seed}"

    def __str__(self) -> str:
        return self.name


def record_key(settings: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Compute the hex digest of everything that decides a result, except the seed.

    Of the machine only the fingerprint counts; of the rest of the environment, everything but
    what is `MADE`.
    """
    machine = environment["machine"]["fingerprint"]
    given = {name: value for name, value in environment.items() if name not in MADE}
    decisive = {
        "settings": _plain(settings, "settings"),
        "environment": _plain({**given, "machine": machine}, "environment"),
    }
    return json_digest(encoded(decisive))


def json_digest(content: Any) -> str:
    """Compute the sha256 of a JSON value in its canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def encoded(value: Any) -> Any:
    """Write the numbers of a JSON value that are not finite as strings (`NOT_FINITE`)."""
    if isinstance(value, dict):
        return {name: encoded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [encoded(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any, name: str) -> Any:
    """Copy `value` into dicts, lists, strings, numbers, booleans and None.

    Raises:
        ValueError: If it holds anything else.
    """
    if isinstance(value, (dict, Mapping)) and all(isinstance(key, str) for key in value):
        return {
            key: item if type(item) in LEAVES else _plain(item, f"{name}[{key!r}]")
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [item if type(item) in LEAVES else _plain(item, name) for item in value]
    if isinstance(value, float):
        return float(value)
    if value is None or (isinstance(value, (str, int)) and value not in NOT_FINITE):
        return value
    raise ValueError(f"{name} must be a JSON value other than {NOT_FINITE}. Received: {value!r}")


def _check(valid: bool, argument: str, rule: str, received: object) -> None:
    """Refuse an argument that is not `valid`.

    Raises:
        ValueError: If it is not.
    """
    if not valid:
        raise ValueError(f"{argument} must {rule}. Received: {received!r}")


def _check_record(record: Record) -> None:
    """Refuse fields that have another type than `Record` states, or lie outside their range."""
    _check_identity(record)
    _check_environment(record.environment)
    _check_measurements(record)


def _check_identity(record: Record) -> None:
    """Refuse fields that cannot name a record."""
    schema, seed, key = record.schema, record.seed, record.key
    valid = type(schema) is int and schema == SCHEMA_VERSION
    _check(valid, "schema", f"be {SCHEMA_VERSION}", schema)
    for name in ("release", "tier", "question", "case"):
        text = getattr(record, name)
        valid = isinstance(text, str) and bool(_NAME.fullmatch(text))
        _check(valid, name, f"match {_NAME.pattern}", text)
    _check(type(seed) is int and seed >= 0, "seed", "be an integer of at least 0", seed)
    _check(isinstance(key, str) and bool(_KEY.fullmatch(key)), "key", "be 64 hex digits", key)


def _check_environment(environment: Any) -> None:
    """Refuse an environment without versions, digests and the machine's fingerprint."""
    _check(isinstance(environment, dict), "environment", "be a mapping", environment)
    for name in DIGESTS:
        text = environment.get(name)
        _check(isinstance(text, str) and text != "", f"environment[{name!r}]", "be text", text)
    for name in ("versions", "machine"):
        part = environment.get(name)
        _check(isinstance(part, dict), f"environment[{name!r}]", "be a mapping", part)
    mark = environment["machine"].get("fingerprint")
    valid = isinstance(mark, str) and mark != ""
    _check(valid, "environment['machine']['fingerprint']", "be text", mark)


def _check_measurements(record: Record) -> None:
    """Refuse measurements that have other types than `Record` states."""
    for name in ("settings", "metrics", "curves", "timing"):
        part = getattr(record, name)
        _check(isinstance(part, dict), name, "be a mapping", part)
    for name, value in record.metrics.items():
        _check(_is_number(value), f"metrics[{name!r}]", "be a number", value)
    for name, curve in record.curves.items():
        valid = isinstance(curve, list) and all(map(_is_number, curve))
        _check(valid, f"curves[{name!r}]", "be a list of numbers", curve)
    layers = record.statistics
    valid = isinstance(layers, list) and all(isinstance(layer, dict) for layer in layers)
    _check(valid, "statistics", "be a list of mappings", layers)
    wall_s = record.wall_s
    valid = _is_number(wall_s) and 0 <= wall_s < math.inf
    _check(valid, "wall_s", "be a finite number of at least 0", wall_s)
    _check(_is_utc(record.started_at), "started_at", "be ISO 8601 in UTC", record.started_at)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_utc(text: object) -> bool:
    """True where `text` is a date and time in UTC."""
    try:
        return datetime.fromisoformat(str(text)).utcoffset() == timedelta(0)
    except ValueError:
        return False
