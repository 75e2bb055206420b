"""Checkpoints: where a training of hours stands after an epoch, so that another process goes on.

What is resumed gives the record of the training that nothing interrupted, to the last bit where
the stack is deterministic. The initial weights, the fix and the first look at a step are made anew,
which takes minutes; a surrogate has a file of its own (`suite.measure.weights`).
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from suite.files import write_atomically
from suite.measure.training import TimedStep
from suite.networks.types import Model
from suite.stacks.protocol import Stack, StepResult, TrainStep

DIGEST_CHARS = 64  # of the sha256 before the content


class Progress(NamedTuple):
    """What a training has done so far.

    Attributes:
        done: Every step.
        epochs: The evaluation after each epoch.
        rows: What was observed of BatchNorm.
        spent_s: Seconds that processes before this one gave to it.
    """

    done: list[TimedStep]
    epochs: list[dict[str, float]]
    rows: list[dict[str, Any]]
    spent_s: float = 0.0


class State(NamedTuple):
    """All that decides how a training goes on, beside its seed: it can be read and set.

    Attributes:
        stack: The framework under measurement.
        models: The models that are trained.
        step: Their update, with its optimizer.
    """

    stack: Stack
    models: Sequence[Model]
    step: TrainStep

    @property
    def variables(self) -> list[Any]:
        """Every variable of the models once: weights, moving statistics, seeds of layers."""
        return [*{id(v): v for model in self.models for v in model.variables}.values()]

    def arrays(self) -> dict[str, list[np.ndarray]] | None:
        """Read the state; None where the framework keeps a part of it out of reach."""
        drawing = self.stack.random_state(self.models)
        if drawing is None:
            return None
        variables = [np.array(np.asarray(variable)) for variable in self.variables]
        return {"variables": variables, "optimizer": self.step.state(), "drawing": drawing}

    def set(self, arrays: Mapping[str, list[np.ndarray]]) -> None:
        """Set the state to what was read.

        Raises:
            ValueError: If it is of another model.
        """
        values = arrays["variables"]
        ours, theirs = ([tuple(v.shape) for v in some] for some in (self.variables, values))
        if ours != theirs:
            raise ValueError(f"arrays must have the shapes {ours}. Received: {theirs}")
        for variable, value in zip(self.variables, values):
            variable.assign(value)
        self.step.restore(arrays["optimizer"])
        self.stack.set_random_state(self.models, arrays["drawing"])


class Checkpoint(NamedTuple):
    """The file of a training that is not finished.

    Attributes:
        path: The file; it need not be there.
        key: Of the record that the training is for, `suite.records.record_key`.
        seed: Of the training.
    """

    path: Path
    key: str
    seed: int

    def save(self, progress: Progress, state: State) -> None:
        """Write where a training stands, as a whole or not at all; nothing if it has no state.

        Raises:
            SuiteError: If it cannot be written; the file of the epoch before is unchanged.
        """
        arrays = state.arrays()
        if arrays is None:
            return
        told = {**progress._asdict(), "key": self.key, "seed": self.seed}
        told["done"] = [[*made.result, made.step_s] for made in progress.done]
        told["generators"] = generators()
        told["counts"] = {name: len(some) for name, some in arrays.items()}
        file = io.BytesIO()
        flat = {f"{name}-{i}": one for name, some in arrays.items() for i, one in enumerate(some)}
        flat["told"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
        np.savez(file, **flat)  # type: ignore[arg-type] # a name of NumPy's own is no name of ours
        content = file.getvalue()
        write_atomically(self.path, hashlib.sha256(content).hexdigest().encode() + content)

    def resume(self, state: State) -> Progress | None:
        """Set the state to where the training stood and give what it had done; None to begin.

        A file of another case, environment or code, or a damaged one, is of no use: that is said,
        and the training begins anew.
        """
        if not self.path.exists():
            return None
        digest, content = _parted(self.path.read_bytes())
        if hashlib.sha256(content).hexdigest() != digest:
            return self._refuse("it is damaged: its sha256 is not that of its content")
        with np.load(io.BytesIO(content)) as file:
            told = json.loads(file["told"].tobytes().decode())
            if (told["key"], told["seed"]) != (self.key, self.seed):
                return self._refuse("it is of another case, seed, environment or code")
            arrays = {
                name: [file[f"{name}-{index}"] for index in range(count)]
                for name, count in told["counts"].items()
            }
        state.set(arrays)
        set_generators(told["generators"])
        done = [TimedStep(StepResult(*values), step_s) for *values, step_s in told["done"]]
        self._say(f"going on after epoch {len(told['epochs'])}, from {self.path.name}")
        return Progress(done, told["epochs"], told["rows"], told["spent_s"])

    def remove(self) -> None:
        """Remove the file, if it is there: its record is stored."""
        if self.path.exists():
            self.path.unlink()

    def _refuse(self, why: str) -> None:
        """Say why the file is not used."""
        self._say(f"{self.path} is not used, and the training begins anew: {why}")

    def _say(self, words: str) -> None:
        """Write a line past pytest's capture."""
        tqdm.write(words, file=sys.__stderr__)


def generators() -> dict[str, Any]:
    """Read the states of the generators of Python and of NumPy, as JSON values."""
    name, words, *rest = np.random.get_state()
    return {"python": random.getstate(), "numpy": [name, np.asarray(words).tolist(), *rest]}


def set_generators(states: Mapping[str, Any]) -> None:
    """Set the generators of Python and of NumPy to what was read."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(states["numpy"]))


def _parted(content: bytes) -> tuple[str, bytes]:
    """Part the digest before the content from it."""
    return content[:DIGEST_CHARS].decode("ascii", "replace"), content[DIGEST_CHARS:]
