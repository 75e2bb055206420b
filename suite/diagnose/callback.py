"""The diagnosis while a training of the user's own runs: a Keras callback."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from suite.diagnose.causes.worth import LEARNED, POINTS
from suite.diagnose.diagnosis import diagnose
from suite.diagnose.feeds import gathered
from suite.diagnose.found import (
    HEALTHY,
    MORE_IMAGES,
    UNDECIDED,
    Diagnosis,
    LayerExamination,
)
from suite.diagnose.network import Network
from suite.errors import SuiteError
from suite.networks.phases import INFERENCE, TRAINING
from suite.networks.types import Keras, Model


class Look(NamedTuple):
    """What was found at the end of an epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        steps: Training steps made since the callback was first used.
        verdict: A row of `suite.diagnose.VERDICTS`.
        inference_gain: Information gain in the inference phase, nats.
        training_gain: The same in the training phase.
        mean_shift: Of the layer whose moving mean is farthest off, in standard deviations of the
            batch; 0 without BatchNorm.
        log_variance_ratio: Of the layer whose moving variance is farthest off: ln(moving / batch).
        updates: Steps in which each BatchNorm layer's statistics were updated, by layer.
    """

    epoch: int
    steps: int
    verdict: str
    inference_gain: float
    training_gain: float
    mean_shift: float
    log_variance_ratio: float
    updates: Mapping[str, int]


def callback(
    keras: Keras,
    images: Any,
    labels: Any = None,
    *,
    output: Any = None,
    every_epochs: int = 1,
    batch_size: int = 32,
    max_images: int = 256,
    tell: Callable[[str], None] = print,
    report: Callable[[Diagnosis, Sequence[Look]], None] | None = None,
) -> Any:
    """Make a Keras callback that diagnoses the network in training, and leaves it as it was.

    It prints a line an epoch and, whenever the verdict changes, the diagnosis in words. It keeps
    ``history``, a list of `Look`, and, once training has ended, ``diagnosis``, the whole
    `Diagnosis`, in which each layer's ``updates_seen`` is what was counted.

    Args:
        keras: The Keras module of the model: ``keras`` or ``tensorflow.keras``.
        images: What the model is fed, a few hundred; whatever `diagnose` takes. They are read once.
        labels: ``(n,)`` class indices, or whatever `diagnose` takes.
        output: Name or place of the output that is looked at; by default each that has labels.
        every_epochs: The network is looked at at the end of every so many epochs.
        batch_size: Images in a batch, as in the training.
        max_images: Images examined at most, drawn at random, always the same.
        tell: Called with every line.
        report: Called once training has ended, with the diagnosis and the looks, such as
            ``page_at("diagnosis.html")`` of `suite.report.html.diagnosis`. If it cannot write, that
            is told: the training is not lost.

    Raises:
        ValueError: If `every_epochs` is not positive.
    """
    if every_epochs < 1:
        raise ValueError(f"every_epochs must be at least 1. Received: {every_epochs}")

    options = {"batch_size": batch_size, "max_images": max_images, "output": output}
    examine = _examining(keras, images, labels, options)
    return _callback_class(keras, Watch(examine, every_epochs, tell, report))()


def _examining(
    keras: Keras, images: Any, labels: Any, options: Mapping[str, Any]
) -> Callable[..., Diagnosis]:
    """Make what diagnoses a model of the training; batches are read once, at the first look."""
    data = [] if labels is None else [(images, labels)]

    def examine(model: Model, **more: Any) -> Diagnosis:
        with _chance_kept(keras):
            if not data:
                data.append(gathered(model, images, count=options["max_images"]))
            fed, told = data[0]
            return unless_losing(diagnose(model, fed, told, keras=keras, **options, **more))

    return examine


def _callback_class(keras: Keras, watch: Watch) -> Any:
    """Make the class of the callback: Keras wants a subclass of its own."""

    class DiagnosisCallback(keras.callbacks.Callback):  # type: ignore[misc]
        """Show the model to `watch`."""

        history = watch.history

        @property
        def diagnosis(self) -> Diagnosis | None:
            """The whole diagnosis; None before training has ended."""
            return watch.diagnosis

        def on_train_begin(self, logs: Any = None) -> None:
            del logs
            watch.counter.begin(Network(self.model, keras))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            watch.counter.steps_of_epoch = batch + 1  # of several run at once, this is the last

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            del logs
            bar = (self.params or {}).get("verbose") == 1  # its line has no end yet
            watch.end_epoch(Network(self.model, keras), epoch + 1, margin="\n" if bar else "")

        def on_train_end(self, logs: Any = None) -> None:
            del logs
            watch.end(self.model)

    return DiagnosisCallback


class Watch:
    """What the callback sees and keeps.

    Attributes:
        history: A look for each epoch that had one.
        diagnosis: The whole diagnosis; None before training has ended.
        counter: Counts steps and updates.
    """

    def __init__(
        self,
        examine: Callable[..., Diagnosis],
        every_epochs: int,
        tell: Callable[[str], None],
        report: Callable[[Diagnosis, Sequence[Look]], None] | None,
    ) -> None:
        """Start with nothing seen."""
        self.history: list[Look] = []
        self.diagnosis: Diagnosis | None = None
        self.counter = Counter()
        self._examine, self._every_epochs = examine, every_epochs
        self._tell, self._report = tell, report

    def end_epoch(self, network: Network, epoch: int, *, margin: str) -> None:
        """Look at the model if it is time to, and tell what is seen."""
        self.counter.end_epoch(network)
        if epoch % self._every_epochs:
            return
        found = self._examine(network.model, check_steps=0)
        former = self.history[-1].verdict if self.history else None
        self.history.append(_look(epoch, found, self.counter))
        self._tell(margin + line(self.history[-1]))
        if found.verdict != former:
            self._tell("\n".join(found.words))

    def end(self, model: Model) -> None:
        """Make the whole diagnosis, and report it."""
        found = self._examine(model)
        self.diagnosis = found._replace(layers=self.counter.counted(found.layers))
        if self._report:
            try:
                self._report(self.diagnosis, self.history)
            except (OSError, SuiteError) as error:
                self._tell(f"no report: {error}")


class Counter:
    """Counts the steps in which each BatchNorm layer was updated.

    All steps of an epoch count for a layer whose statistics have changed at its end: not every
    Keras lets them be read after each step, and what updates them does so at each.

    Attributes:
        steps: Made so far.
        steps_of_epoch: Made in the current epoch.
        updates: Those that updated each layer, by its name.
    """

    def __init__(self) -> None:
        """Start at no steps."""
        self.steps = 0
        self.steps_of_epoch = 0
        self.updates: dict[str, int] = {}
        self._former: dict[str, bytes] = {}

    def begin(self, network: Network) -> None:
        """Remember the statistics of `network`."""
        self._former = _statistics(network)

    def end_epoch(self, network: Network) -> None:
        """Count the steps of an epoch for the layers whose statistics have moved."""
        for name, values in _statistics(network).items():
            moved = values != self._former.get(name)
            self.updates[name] = self.updates.get(name, 0) + moved * self.steps_of_epoch
            self._former[name] = values
        self.steps += self.steps_of_epoch
        self.steps_of_epoch = 0

    def counted(self, layers: tuple[LayerExamination, ...]) -> tuple[LayerExamination, ...]:
        """Put the updates that were counted into `layers`."""
        return tuple(
            layer._replace(updates_seen=self.updates.get(layer.layer, layer.updates_seen))
            for layer in layers
        )


def _statistics(network: Network) -> dict[str, bytes]:
    """Read the moving statistics of each BatchNorm layer as bytes, so that NaN equals NaN."""
    return {
        layer.name: np.stack(values).tobytes()
        for layer, values in zip(network.norms, network.statistics())
    }


@contextmanager
def _chance_kept(keras: Keras) -> Iterator[None]:
    """Put the generators of Python, NumPy and PyTorch back on leaving.

    A look draws dropout, too: without this, training would go on with other numbers. The model's
    own generators are kept by the diagnosis. Keras 2 has no way to put back what
    ``run_eagerly=True`` draws from TensorFlow itself.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        if hasattr(keras, "ops") and keras.backend.backend() == "torch":
            stack.enter_context(importlib.import_module("torch").random.fork_rng())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def unless_losing(found: Diagnosis) -> Diagnosis:
    """Take "healthy" back where the inference phase loses to the training phase.

    By the accuracy that an intervention must gain, or the nats from which a network tells anything,
    significant or not: of a training that goes on, the next look tells.
    """
    told, trained = (found.evaluations[phase] for phase in (INFERENCE, TRAINING))
    points = round(trained.accuracy - told.accuracy, 9)
    nats = trained.information_gain - told.information_gain
    if found.verdict != HEALTHY or (points < POINTS and nats < LEARNED):
        return found
    words = (
        f"Not healthy yet: the inference phase is right in {told.accuracy:.1%} and gives "
        f"{told.information_gain:.2f} nats, the training phase in {trained.accuracy:.1%} and "
        f"{trained.information_gain:.2f} nats. If the next looks say the same, examine more images."
    )
    return found._replace(verdict=UNDECIDED, words=(words, *found.words[1:]), next=MORE_IMAGES)


def _look(epoch: int, found: Diagnosis, counter: Counter) -> Look:
    """Pick what is kept of a diagnosis at the end of an epoch."""
    return Look(
        epoch,
        counter.steps,
        found.verdict,
        found.evaluations["inference"].information_gain,
        found.evaluations["training"].information_gain,
        _farthest([layer.mean_shift for layer in found.layers]),
        _farthest([layer.log_variance_ratio for layer in found.layers]),
        dict(counter.updates),
    )


def _farthest(values: list[float]) -> float:
    """Pick the value that is farthest from 0, NaN if any is; 0 without any."""
    return float(
        max(values, key=lambda value: np.inf if np.isnan(value) else abs(value), default=0)
    )


def line(look: Look) -> str:
    """Put a look into one line."""
    return (
        f"epoch {look.epoch}: {look.verdict}; information gain {look.inference_gain:.3g} nats in "
        f"the inference phase, {look.training_gain:.3g} in the training phase; moving mean off by "
        f"{look.mean_shift:.3g} standard deviations, variance by {look.log_variance_ratio:.3g} (ln)"
    )
