"""Tests of the callback: what it records, counts and tells, and that training does not notice."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.diagnose import callback as module
from suite.diagnose.callback import callback
from suite.diagnose.found import VERDICTS, Diagnosis, LayerExamination
from suite.diagnose.loading import framework
from suite.diagnose.trials import Evaluation
from suite.errors import SuiteError
from suite.report.html.diagnosis import page_at

keras = framework()
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras' own, on NumPy 2.4
COUNT, CLASSES = 48, 3
LABELS = np.arange(COUNT) % CLASSES
IMAGES = np.random.default_rng(0).normal(size=(COUNT, 6, 6, 3)).astype("float32")
IMAGES += LABELS[:, None, None, None]


def network() -> Any:
    """Return a compiled network with BatchNorm and dropout, always the same."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="bn", momentum=0.9),
            layers.Activation("relu"),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(CLASSES, name="logits"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, metrics=["accuracy"])
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 2, **options: Any) -> Any:
    return model.fit(
        IMAGES, LABELS, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **options
    ).history


def watching(**options: Any) -> Any:
    options.setdefault("tell", lambda _: None)
    return callback(keras, IMAGES, LABELS, batch_size=8, **options)


FOUND = Diagnosis(
    verdict="healthy", cause="", layer="", fix="", steps_needed=0.0, steps_run=0,
    predicted_kl=0.0, measured_kl=0.0, words=("This is healthy.",),
    evaluations={
        "inference": Evaluation(0.9, 0.7, 0.4, CLASSES),
        "training": Evaluation(0.8, 0.6, 0.5, CLASSES),
    },
    layers=(
        LayerExamination("bn", 0.9, 1e-3, True, "training", 7, 6.6, 0.1, -0.3, 0.1, 0.0),
        LayerExamination("bn2", 0.9, 1e-3, True, "training", None, 6.6, 0.2, 0.1, 0.1, 0.0),
    ),
    images=COUNT, classes=CLASSES, label_entropy=1.0986,
)  # fmt: skip


class Doctor:
    """Finds the verdicts it was told to find, and remembers what it was asked."""

    def __init__(self, *verdicts: str) -> None:
        self.verdicts, self.asked = list(verdicts), []

    def __call__(self, *_: Any, **options: Any) -> Diagnosis:
        self.asked.append(options)
        verdict = self.verdicts.pop(0) if self.verdicts else "healthy"
        return FOUND._replace(verdict=verdict, words=(f"This is {verdict}.",))


@pytest.mark.parametrize(
    ("inference", "training", "healthy"),
    [
        (Evaluation(0.90, 0.70, 0.4, 3), Evaluation(0.94, 0.75, 0.4, 3), True),
        (Evaluation(0.90, 0.70, 0.4, 3), Evaluation(0.95, 0.70, 0.4, 3), False),
        (Evaluation(0.90, 0.70, 0.4, 3), Evaluation(0.90, 0.81, 0.4, 3), False),
        (Evaluation(0.90, 0.70, 0.4, 3), Evaluation(0.10, -9.0, 9.4, 3), True),
    ],
)
def test_it_is_never_healthy_while_the_inference_phase_loses(
    inference: Evaluation, training: Evaluation, healthy: bool
) -> None:
    evaluations = {"inference": inference, "training": training}
    found = module.unless_losing(FOUND._replace(evaluations=evaluations))
    assert found.verdict == ("healthy" if healthy else "undecided")
    assert ("Not healthy yet: the inference phase is right in 90.0%" in found.words[0]) != healthy
    ill = FOUND._replace(evaluations=evaluations, verdict="diverged")
    assert module.unless_losing(ill) == ill


def test_batches_are_read_once() -> None:
    def batches() -> Any:
        for start in range(0, COUNT, 8):
            yield IMAGES[start : start + 8], LABELS[start : start + 8]

    watch = callback(keras, batches(), batch_size=8, tell=lambda _: None)
    fit(network(), watch)
    assert len(watch.history) == 2
    assert watch.diagnosis.images == COUNT


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Put a doctor who is quick in the place of the diagnosis."""
    quick = Doctor()
    monkeypatch.setattr(module, "diagnose", quick)
    return quick


def test_training_goes_on_as_without_it_and_ends_with_the_diagnosis() -> None:
    alone, watch = network(), watching()
    former = fit(alone)
    assert watch.diagnosis is None
    watched = network()  # seeds anew
    assert fit(watched, watch) == former
    for mine, theirs in zip(watched.get_weights(), alone.get_weights()):
        assert mine.tobytes() == theirs.tobytes()
    assert int(watched.optimizer.iterations) == int(alone.optimizer.iterations) == 12
    assert [look.epoch for look in watch.history] == [1, 2]
    assert all(look.verdict in VERDICTS for look in watch.history)
    assert np.isfinite([look[3:7] for look in watch.history]).all()
    found = watch.diagnosis
    assert isinstance(found, Diagnosis)
    assert watch.history[-1].mean_shift == pytest.approx(found.layers[0].mean_shift)
    assert found.layers[0].updates_seen == 12


def test_the_users_own_chance_goes_on_as_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw_and_find(*_: Any, **__: Any) -> Diagnosis:
        random.random()  # noqa: S311
        np.random.seed(0)
        return FOUND

    def draws(*callbacks: Any) -> list[float]:
        model = network()
        drawn: list[float] = []
        draw = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: drawn.extend((random.random(), np.random.random()))  # noqa: S311
        )
        fit(model, *callbacks, draw)
        return drawn

    monkeypatch.setattr(module, "diagnose", draw_and_find)
    assert draws() == draws(watching())


def test_the_steps_and_the_updates_of_each_layer_are_counted(doctor: Doctor) -> None:
    watch = watching()
    fit(network(), watch)
    assert [look.steps for look in watch.history] == [6, 12]
    assert [look.updates for look in watch.history] == [{"bn": 6}, {"bn": 12}]
    assert watch.history[0][3:7] == (0.7, 0.6, 0.2, -0.3)
    assert [layer.updates_seen for layer in watch.diagnosis.layers] == [12, None]
    assert [options.get("check_steps") for options in doctor.asked] == [0, 0, None]
    assert all(options["keras"] is keras for options in doctor.asked)


@pytest.mark.usefixtures("doctor")
def test_a_frozen_layer_is_seen_never_to_be_updated() -> None:
    model, watch = network(), watching()
    model.get_layer("bn").trainable = False
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, watch)
    assert watch.history[-1].updates == {"bn": 0}
    assert watch.diagnosis.layers[0].updates_seen == 0


@pytest.mark.usefixtures("doctor")
def test_looks_are_taken_as_often_as_asked_for() -> None:
    watch = watching(every_epochs=2)
    fit(network(), watch, epochs=3)
    assert [(look.epoch, look.updates) for look in watch.history] == [(2, {"bn": 12})]
    assert watch.diagnosis.layers[0].updates_seen == 18
    with pytest.raises(ValueError, match="every_epochs must be at least 1"):
        watching(every_epochs=0)


@pytest.mark.usefixtures("doctor")
def test_a_second_training_goes_on_counting() -> None:
    model, watch = network(), watching()
    fit(model, watch, epochs=1)
    fit(model, watch, epochs=1)
    assert [look.steps for look in watch.history] == [6, 12]


@pytest.mark.usefixtures("doctor")
@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "torch", reason="torch runs one step a time")
def test_steps_that_run_several_at_once_are_all_counted() -> None:
    model, watch = network(), watching()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, steps_per_execution=3)
    fit(model, watch, epochs=1)
    assert watch.history[0].updates == {"bn": 6}


def test_every_epoch_has_a_line_and_every_new_verdict_its_words(doctor: Doctor) -> None:
    doctor.verdicts = ["healthy", "healthy", "diverged"]
    told: list[str] = []
    fit(network(), watching(tell=told.append), epochs=3)
    assert [text.partition(";")[0] for text in told] == [
        "epoch 1: healthy",
        "This is healthy.",
        "epoch 2: healthy",
        "epoch 3: diverged",
        "This is diverged.",
    ]
    assert "information gain 0.7 nats in the inference phase, 0.6 in the training" in told[0]


@pytest.mark.usefixtures("doctor")
def test_a_line_does_not_end_up_in_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    watch = watching(tell=print)
    model.fit(IMAGES, LABELS, batch_size=8, epochs=1, verbose=1, callbacks=[watch])
    assert "\nepoch 1: healthy" in capsys.readouterr().out


@pytest.mark.usefixtures("doctor")
def test_a_network_without_batch_norm_can_be_watched() -> None:
    layers = keras.layers
    bare = keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), layers.Dense(CLASSES)])
    bare.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = watching()
    fit(bare, watch, epochs=1)
    assert watch.history[0].updates == {}


@pytest.mark.usefixtures("doctor")
def test_a_report_is_made_once_at_the_end_of_what_was_seen() -> None:
    reported: list[Any] = []
    watch = watching(report=lambda *seen: reported.append(seen))
    fit(network(), watch, epochs=2)
    assert reported == [(watch.diagnosis, watch.history)]
    assert [look.epoch for look in reported[0][1]] == [1, 2]


@pytest.mark.usefixtures("doctor")
def test_a_page_is_written_at_the_end(tmp_path: Path) -> None:
    page = tmp_path / "new" / "diagnosis.html"
    fit(network(), watching(report=page_at(page, model="<b>mine</b>")), epochs=2)
    text = page.read_text(encoding="utf-8")
    assert "<h1>healthy</h1>" in text
    assert "Diagnosis of &lt;b&gt;mine&lt;/b&gt;" in text
    assert "Information gain at the end of each epoch" in text


@pytest.mark.usefixtures("doctor")
def test_a_training_is_not_lost_with_its_report(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    report = page_at(blocked / "diagnosis.html")
    blocked.write_text("in the way")
    told: list[str] = []
    assert fit(network(), watching(report=report, tell=told.append), epochs=1)["loss"]
    assert told[-1].startswith(f"no report: {blocked}")


@pytest.mark.parametrize("name", ["diagnosis.png", "diagnosis", "folder.html", "file/a.html"])
def test_a_name_that_no_page_can_have_is_refused_before_the_training(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="Name a file"):
        page_at(tmp_path / name)
