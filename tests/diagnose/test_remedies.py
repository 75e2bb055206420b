"""Tests of the remedies: the code of each is run as it stands, and mends what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.diagnose.found import MORE_IMAGES, TRAINING_IMAGES, Diagnosis
from suite.diagnose.probes import input_conventions
from suite.diagnose.remedies import (
    BY_CAUSE,
    DECODED,
    ENCODED,
    recompute_statistics,
    remedy,
    rescaling,
    setting,
)
from suite.diagnose.trials import InputScale
from suite.networks.types import Keras, Model
from tests.diagnose.nets import (
    CLASSES,
    QUIET,
    SIDE_PX,
    Data,
    Make,
    change,
    drawn,
    found,
    norms,
    reset,
    scale_weights,
)

pytestmark = QUIET


def accuracy(model: Model, data: Data) -> float:
    images, labels = data
    return float(np.mean(np.array(model(images, training=False)).argmax(-1) == labels))


def pasted(code: str, model: Model, data: Data, **more: Any) -> dict[str, Any]:
    """Run code where it is pasted: beside the network and its images."""
    names = {"model": model, "images": data[0], "labels": data[1], **more}
    exec(compile(code, "pasted", "exec"), names)  # noqa: S102 - that is what it is for
    return names


def code_of(diagnosis: Diagnosis) -> str:
    code = remedy(diagnosis).code
    assert code
    return code


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("frozen", [False, True])
def test_recomputed_statistics_mend_stale_ones_and_the_mended_file_is_the_network(
    keras: Keras, make: Make, data: Data, frozen: bool
) -> None:
    model = make()
    reset(model)
    for layer in norms(model):
        layer.trainable = not frozen
    assert accuracy(model, data) < 0.5
    pasted(code_of(found(model, data)), model, data)
    assert accuracy(model, data) > 0.9
    assert accuracy(keras.models.load_model("mended.keras"), data) > 0.9
    assert all(layer.trainable is not frozen for layer in norms(model))


def test_statistics_are_those_of_the_layer_whatever_the_order_of_the_layers(
    keras: Keras, data: Data
) -> None:
    class Backwards(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.second = keras.layers.BatchNormalization(name="second")
            self.first = keras.layers.BatchNormalization(name="first")
            self.unused = keras.layers.BatchNormalization(name="unused")
            self.unused.build((None, 3))

        def call(self, images: Any, training: bool = False) -> Any:
            return self.second(100 * self.first(images, training=training), training=training)

    model = Backwards()
    model(data[0][:2], training=False)
    recompute_statistics(model, data[0], batch_size=len(data[0]))
    first, second = (np.array(layer.moving_variance) for layer in (model.first, model.second))
    assert np.allclose(first, data[0].var((0, 1, 2)), rtol=1e-4)
    assert second.min() > 1000
    assert np.array_equal(np.array(model.unused.moving_variance), np.ones(3))


def test_another_momentum_lets_the_statistics_follow(make: Make, data: Data) -> None:
    model = make()
    for layer in norms(model):
        layer.momentum = 1.0
        change(layer, mean=3)
    diagnosis = found(model, data)
    assert diagnosis.fix == "bn-momentum-0.5"
    names = pasted(code_of(diagnosis).replace("labels, ", "labels, verbose=0, epochs=4, "),
                   model, data)  # fmt: skip
    assert "# 10 steps leave" in code_of(diagnosis)
    assert accuracy(names["mended"], data) > 0.9
    assert {layer.momentum for layer in norms(names["mended"])} == {0.5}


def test_the_input_scale_is_put_inside(keras: Keras, make: Make, data: Data) -> None:
    inner = make()
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    back = keras.layers.Conv2D(3, 1, name="back")  # undoes caffe's scale: its weights were so
    model = keras.Model(inputs, inner(back(inputs)))
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    for channel in range(3):
        kernel[0, 0, channel, 2 - channel] = 1 / 255
    back.set_weights([kernel, np.array([123.68, 116.779, 103.939], np.float32) / 255])
    diagnosis = found(model, data)
    assert diagnosis.fix == "imagenet-inputs"
    assert accuracy(pasted(code_of(diagnosis), model, data)["mended"], data) > 0.9


def test_another_input_scale_is_given_as_numbers(make: Make, data: Data) -> None:
    images, labels = data
    diagnosis = found(make(), (255 * images, labels))
    assert (diagnosis.cause, diagnosis.fix) == ("wrong input scale", "")
    names = pasted(code_of(diagnosis), Predicting(make()), (255 * images, labels))
    assert accuracy(make(), (names["scaled"], labels)) > 0.9


class Predicting:
    """A network whose `predict` prints nothing."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, images: Any) -> Any:
        return np.array(self.model(images, training=False))


@pytest.mark.parametrize(
    "images",
    [
        np.random.default_rng(0).random((4, 5, 5, 3), np.float32),
        np.random.default_rng(0).random((4, 5, 5, 3), np.float32) * 200,
        np.random.default_rng(0).random((4, 5, 5, 3), np.float32) * 2 - 1,
        np.random.default_rng(0).random((4, 5, 5, 3), np.float32) * 200 - 100,
        np.random.default_rng(0).random((4, 5, 5, 3), np.float32) * 4 - 2,
        np.random.default_rng(0).random((4, 5, 5, 1), np.float32),
        np.random.default_rng(0).random((40, 8), np.float32),
    ],
    ids=["unit", "bytes", "symmetric", "caffe", "torch", "grey", "table"],
)
def test_every_scale_that_is_tried_is_what_its_code_makes(images: Any) -> None:
    for scale, convert in input_conventions(images).items():
        expected = convert(images)
        names = pasted(rescaling(scale).rpartition("print(")[0], None, (images, None))
        assert np.allclose(names["scaled"], expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_a_scale_that_is_unknown_would_be_an_error() -> None:
    assert set(DECODED) < set(ENCODED)
    assert "(images - (-2.5)) / (7 - (-2.5))" in rescaling(InputScale("[-2.5, 7]", "[0, 1]", False))


def test_a_dead_layer_is_made_anew(make: Make, data: Data) -> None:
    model = make()
    scale_weights(model.get_layer("head"), 0.0)
    pasted(code_of(found(model, data)), model, data)
    assert np.abs(model.get_layer("head").get_weights()[0]).max() > 0.01


@pytest.mark.parametrize("factor", [float("nan"), 100.0])
def test_what_diverged_goes_on_from_a_checkpoint(make: Make, data: Data, factor: float) -> None:
    model = make()
    model.save_weights("checkpoint.weights.h5")
    scale_weights(model.get_layer("conv1"), factor)
    code = code_of(found(model, data))
    pasted(code.replace("labels, ", "labels, verbose=0, "), model, data)
    assert accuracy(model, data) > 0.9
    assert model.optimizer.clipnorm == 1.0


def test_labels_are_put_right(make: Make, data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = data
    shuffled = np.random.default_rng(0).permutation(labels)
    names = pasted(code_of(found(make(), (images, shuffled))), None, data)
    assert accuracy(make(), (names["images"], names["labels"])) > 0.9
    for name in ("b", "a"):
        Path("images", name).mkdir(parents=True)
    permuted = found(make(), (images, (labels + 1) % CLASSES))
    pasted(code_of(permuted), None, data)
    assert capsys.readouterr().out == "['a', 'b']\n"


def test_a_healthy_network_and_one_that_no_code_mends_have_words_alone(
    make: Make, data: Data
) -> None:
    healthy = found(make(), data)
    assert remedy(healthy)[:2] == ("Nothing is to be mended.", "")
    assert remedy(healthy._replace(verdict="something else", cause="shrunk")).code == ""


def test_what_a_remedy_gave_here_is_said(make: Make, data: Data) -> None:
    model = make()
    reset(model)
    words = remedy(found(model, data)).words
    assert "Tried here: all moving statistics recomputed on these images; right in" in words


def of_cause(make: Make, data: Data, cause: str, **changes: Any) -> str:
    """Give the code for a cause."""
    about = {"verdict": "something else", "cause": cause, "fix": "", **changes}
    return code_of(found(make(), data)._replace(**about)).replace("model.fit(", QUIETLY)


QUIETLY = "(lambda *a, **k: model.fit(*a, verbose=0, **k))("


def test_weights_that_a_file_does_not_hold_are_listed(
    make: Make, data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    model, other = make(), make()
    scale_weights(other.get_layer("conv1"), 2.0)
    other.save_weights("trained.weights.h5")
    capsys.readouterr()
    pasted(of_cause(make, data, "weights not loaded"), model, data)
    told = capsys.readouterr().out
    assert "kernel" in told or "gamma" in told
    assert len(told.split(", ")) == len(model.weights) - 1


def test_rare_classes_are_weighted(make: Make, data: Data) -> None:
    images, labels = data
    few = (labels != 2) | (np.arange(len(labels)) % 8 == 0)
    names = pasted(of_cause(make, data, "unbalanced classes"), make(), (images[few], labels[few]))
    assert names["weights"][2] > 2 * names["weights"][1]


def test_the_recall_of_each_class_is_told(
    make: Make, data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    code = of_cause(make, data, "classes never predicted")
    capsys.readouterr()
    pasted(code, Predicting(make()), data)
    assert len(capsys.readouterr().out.splitlines()) == CLASSES


def test_images_that_stand_out_are_scaled_like_the_others(make: Make, data: Data) -> None:
    images, labels = data[0].copy(), data[1]
    images[:3] *= 255
    model = make()
    reset(model)
    names = pasted(of_cause(make, data, "images in different scales"), model, (images, labels))
    assert np.allclose(names["images"], data[0], atol=1e-5)
    assert accuracy(model, data) > 0.9


def test_a_bias_is_taken_away(make: Make, data: Data) -> None:
    model = make()
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel, bias + 50 * (np.arange(CLASSES) == 2)])
    assert accuracy(model, data) < 0.5
    pasted(of_cause(make, data, "biased head"), model, data)
    assert accuracy(model, data) > 0.9


def test_layers_that_know_the_phase_are_listed(
    make: Make, data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    code = of_cause(make, data, "phases disagree")
    capsys.readouterr()
    pasted(code, make(), data)
    told = capsys.readouterr().out
    assert "dropout" in told
    assert "bn0" in told
    assert "conv0" not in told


def test_statistics_that_no_single_set_serves_give_way_to_groups(make: Make, data: Data) -> None:
    code = of_cause(make, data, "no single set of statistics", fix="group-norm")
    names = pasted(code.replace("labels, ", "labels, verbose=0, "), make(), data)
    assert not norms(names["mended"])


@pytest.mark.parametrize("following", [MORE_IMAGES, TRAINING_IMAGES])
def test_what_is_undecided_is_examined_again(
    make: Make, data: Data, capsys: pytest.CaptureFixture[str], following: str
) -> None:
    diagnosis = found(make(), data)
    undecided = diagnosis._replace(verdict="undecided", cause="", fix="", next=following)
    images, labels = data
    capsys.readouterr()
    pasted(code_of(undecided), make(), (images[:100], labels[:100]))
    assert "On 100 images it is right in" in capsys.readouterr().out


def test_scales_next_to_nothing_are_set_anew(make: Make, data: Data) -> None:
    model = make()
    for layer in norms(model):
        gamma, beta, *statistics = layer.get_weights()
        layer.set_weights([1e-3 * gamma, 0 * beta, *statistics])
    diagnosis = found(model, data)
    assert diagnosis.cause == "scales next to 0"
    code = code_of(diagnosis).replace("epochs=5", "epochs=5, verbose=0")
    pasted(code, model, drawn(600, seed=1))
    assert accuracy(model, data) > 0.8


def test_a_pinned_phase_that_recomputing_does_not_mend_is_let_go(make: Make, data: Data) -> None:
    model = make()
    for layer in norms(model):
        layer.trainable = False
    code = of_cause(make, data, "phase pinned (stale mean)", verdict="stale statistics")
    before = [layer.get_weights()[-2].copy() for layer in norms(model)]
    pasted(code, model, data)
    after = [layer.get_weights()[-2] for layer in norms(model)]
    assert not any(np.array_equal(old, new) for old, new in zip(before, after))


def test_some_images_are_learned_by_heart(make: Make, data: Data) -> None:
    code = of_cause(make, data, "nothing learned").replace("epochs=200", "epochs=60")
    names = pasted(code, make(), data)
    assert names["few"].evaluate(data[0][:32], data[1][:32], verbose=0) < 0.5


@pytest.mark.parametrize("name", ['"); import os #', "a\n'b", "\u202e\x1b[2J{layer}"])
def test_a_name_in_code_is_a_string_and_nothing_else(make: Make, data: Data, name: str) -> None:
    diagnosis = found(make(), data)._replace(verdict="constant predictor", cause="dead head")
    code = code_of(diagnosis._replace(layer=name))
    assert code.isascii()
    assert f"layer.name == {name!a})" in code
    compile(code, "pasted", "exec")
    about = {"model": name, "data": name, "split": None, "size": None, "images": 3, "seed": 0,
             "inputs": "0..1", "output": None}  # fmt: skip
    assert f"source = opened(\n    {name!a}, {name!a}, " in setting(about)
    compile(setting(about), "pasted", "exec")


def test_every_code_compiles() -> None:
    for cause, choice in BY_CAUSE.items():
        compile(choice.code.replace("{layer}", "'x'"), cause, "exec")
    assert setting({"model": "net"}).startswith("#")
