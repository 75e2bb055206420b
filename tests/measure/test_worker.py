"""Tests of suite.measure.worker: it makes the steps it is asked for, and says where it runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Client
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from suite import machine
from suite.cases import Case
from suite.measure import worker
from suite.measure.once import Session
from suite.stacks.protocol import Stack
from tests.measure.conftest import ENVIRONMENT, SMALL, coloured

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CASES = {
    name: Case(name, question="step-time", data="synthetic", **{**SMALL, "size_px": 32})
    for name in ("lenet5", "alexnet")
}


@pytest.fixture
def session(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Open a session of this stack that has two small cases."""
    monkeypatch.setattr(worker, "asked", lambda _: CASES)
    said = {**ENVIRONMENT, "library_digest": "sha256:4"}
    return Session("tf-2.21", "small", tmp_path, stack, said, lambda *_: coloured())


def connected(address: str) -> Connection:
    """Wait until somebody listens at a socket, which is there a moment before, and connect."""
    deadline_s = time.monotonic() + 30
    while True:
        try:
            return Client(address, family="AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            assert time.monotonic() < deadline_s, f"nobody listens at {address}"
            time.sleep(0.01)


@contextmanager
def serving(session: Session, folder: Path) -> Iterator[tuple[Connection, dict[str, Any]]]:
    """Serve in a thread; give a connection and what the worker says first. It ends with both."""
    address = str(folder / "socket")
    thread = threading.Thread(target=worker.serve, args=(address, session))
    thread.start()
    with connected(address) as connection:
        yield connection, json.loads(connection.recv_bytes())
    thread.join(30)
    assert not thread.is_alive()


def ask(connection: Connection, case: str, steps: int) -> dict[str, Any]:
    connection.send_bytes(json.dumps({"case": case, "steps": steps}).encode())
    found: dict[str, Any] = json.loads(connection.recv_bytes())
    return found


def test_a_worker_says_where_it_runs_and_makes_the_steps_it_is_asked_for(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], worker.stepping

    def counted(case: Case, session: Session) -> Any:
        made.append(case.architecture)
        return real(case, session)

    monkeypatch.setattr(worker, "stepping", counted)
    peaks = count(1000, 100)
    monkeypatch.setattr(machine, "peak_memory_bytes", lambda: next(peaks))
    with serving(session, tmp_path) as (connection, said):
        answers = [ask(connection, "lenet5", 3), ask(connection, "lenet5", 9)]
        other = ask(connection, "alexnet", 1)
    names = ("lock_digest", "code_digest", "library_digest", "machine")
    assert said == {"release": "tf-2.21", **{name: session.environment[name] for name in names}}
    assert [len(answer["step_s"]) for answer in (*answers, other)] == [3, 9, 1]
    assert all(0 < step_s < 30 for answer in answers for step_s in answer["step_s"])
    taken = [answer["peak_memory_bytes"] for answer in (*answers, other)]
    assert taken == [100, 200, 100]  # since before the model of that case was made
    assert made == ["lenet5", "alexnet"]  # each model is made once


def test_what_a_step_takes_is_what_the_answer_says(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worker.timed

    def slowed(step: Any, batch: Any, *, base_rate: float) -> Any:
        def slow(*given: Any) -> Any:
            time.sleep(0.2)
            return step(*given)

        return real(slow, batch, base_rate=base_rate)

    with serving(session, tmp_path) as (connection, _):
        honest = ask(connection, "lenet5", 5)
        monkeypatch.setattr(worker, "timed", slowed)
        slow = ask(connection, "lenet5", 3)
    assert min(slow["step_s"]) > 0.2 > min(honest["step_s"])


def test_a_case_that_the_tier_lacks_ends_the_worker(session: Session, tmp_path: Path) -> None:
    address, told = str(tmp_path / "socket"), list[BaseException]()

    def serve() -> None:
        try:
            worker.serve(address, session)
        except ValueError as error:
            told.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    with connected(address) as connection:
        connection.recv_bytes()
        with pytest.raises((EOFError, ConnectionError)):
            ask(connection, "vgg19", 1)
    thread.join(30)
    assert "case must be one of lenet5, alexnet. Received: vgg19" in str(told[0])
