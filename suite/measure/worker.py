"""A worker: the process of one release that makes steps of a case when it is asked, and times them.

Two workers, one for each of two releases, are asked in turn, so that what slows the machine down
slows both (`suite.commands.pairs`).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Listener
from typing import TYPE_CHECKING, Any

from suite.cases import Case, require
from suite.measure.questions.step_time import memory_meter
from suite.measure.run import Run, fixed_training, subsets
from suite.measure.training import WARMUP_STEPS, batches, timed
from suite.tables import asked

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from suite.measure.once import Session

SEED = 0  # of images, weights and order: what a step costs does not depend on them
DATA = "synthetic"  # likewise, and it is there without a download
EPOCHS = 10**6  # more than anybody asks for
STATED = ("lock_digest", "code_digest", "library_digest", "machine")
"""What a worker says of its environment, so that nobody takes its times for those of another."""


def serve(address: str, session: Session) -> None:
    """Answer what is asked at a Unix socket until the one who asks goes away.

    The first message is the worker's: the release and `STATED`. A question is JSON: ``case``, a
    name, and ``steps``, how many to make. The answer holds the seconds of each, ``step_s``, and
    where it can be measured ``peak_memory_bytes``, the most memory that was taken since before the
    case's model was made. The first question of a case makes the model and steps that compile,
    which are not timed.

    Args:
        address: Path of the socket, which is made here.
        session: The release under measurement.

    Raises:
        ValueError: If the tier has no case of a name that is asked for.
    """
    said = {name: session.environment[name] for name in STATED}
    with Listener(address, family="AF_UNIX") as listener, listener.accept() as connection:
        connection.send_bytes(_encoded({"release": session.release, **said}))
        _answer(connection, session)


def _answer(connection: Connection, session: Session) -> None:
    """Answer until there is nobody to answer; the model of one case is held at a time."""
    held: dict[str, Callable[[int], dict[str, Any]]] = {}
    while True:
        try:
            question = json.loads(connection.recv_bytes().decode())
        except (EOFError, ConnectionError):
            return
        name = question["case"]
        if name not in held:
            held.clear()
            gc.collect()  # the former model is no part of this one's memory
            cases = asked(session.tier)
            require("case", name, cases)
            held[name] = stepping(replace(cases[name], data=DATA), session)
        connection.send_bytes(_encoded(held[name](question["steps"])))


def _encoded(content: dict[str, Any]) -> bytes:
    """Write a message."""
    return json.dumps(content).encode()


def stepping(case: Case, session: Session) -> Callable[[int], dict[str, Any]]:
    """Make the model of a case and its adversarial step, and warm up.

    Returns:
        A function that makes a number of further steps and gives what `serve` answers.
    """
    memory = memory_meter(session.stack)
    data = session.dataset(case.data, case.size_px)
    run = Run(case, SEED, session.stack, *subsets(case, data, seed=SEED), session.environment)
    step = run.stack.train_step(fixed_training(run).model, phases=case.phases, epsilon=case.epsilon)
    source = batches(run.train, batch_size=case.batch_size, epochs=EPOCHS, seed=SEED)

    def made(count: int) -> list[float]:
        rate = case.learning_rate
        return [timed(step, next(source), base_rate=rate).step_s for _ in range(count)]

    made(WARMUP_STEPS)
    return lambda count: {"step_s": made(count), **memory()}
