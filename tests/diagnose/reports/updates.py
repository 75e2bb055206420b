"""Reports of statistics that nothing updates, weights that were never loaded, and odd batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from suite.diagnose.found import CONSTANT, OTHER, STALE
from suite.networks.types import Keras, Model
from tests.diagnose.reports import follow
from tests.diagnose.reports.nets import body, compiled, fit, head, plain, set_statistics, signs
from tests.diagnose.reports.report import FOLDER, SIDE_PX, Case, Data, Report

WHOLE = 700  # steps of a training


def healthy(keras: Keras, data: Data) -> Model:
    return fit(plain(keras), data, steps=WHOLE)


def never_updated(keras: Keras, data: Data) -> Model:
    """Train on batch statistics; the loop never runs what updates the others."""
    model = healthy(keras, data)
    set_statistics(model)
    return model


def pinned(keras: Keras) -> Model:
    """Call BatchNorm with ``training=False``, whatever the model is called with."""
    batch_norm = keras.layers.BatchNormalization

    class Pinned(batch_norm):  # type: ignore[misc, valid-type]
        """Runs in inference."""

        def call(self, inputs: Any, training: bool = False, **options: Any) -> Any:
            del training
            return super().call(inputs, training=False, **options)

    return compiled(keras, signs(keras, norm=Pinned), rate=0.0003)


def pin(keras: Keras, data: Data) -> Model:
    return fit(pinned(keras), data, steps=100)


def norms_not_loaded(keras: Keras, data: Data) -> Model:
    """Load by name what has a name: BatchNorm's were numbered anew."""
    model, fresh = healthy(keras, data), plain(keras)
    kept = [
        ours if "bn" not in layer.name else new
        for layer, other in zip(model.layers, fresh.layers)
        for ours, new in zip(layer.get_weights(), other.get_weights())
    ]
    model.set_weights(kept)
    model.optimizer.iterations.assign(0)
    return model


def trunk_not_loaded(keras: Keras, data: Data) -> Model:
    """Load by name the head alone."""
    model, fresh = healthy(keras, data), plain(keras)
    fresh.set_weights([*fresh.get_weights()[:-2], *model.get_weights()[-2:]])
    return fresh


def reloaded(case: Case) -> tuple[Model, Data]:
    """Load all the weights that the network was saved with."""
    with np.load(FOLDER / "fed-bytes.npz") as kept:
        case.model.set_weights([kept[f"w{index}"] for index in range(len(kept.files) - 1)])
    return case.model, case.data


def shared(keras: Keras, *, norm: Any = None) -> Model:
    """Let one BatchNorm normalise three flows, each with statistics of its own."""
    layers = keras.layers
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x, shared_norm = inputs, norm or layers.BatchNormalization(momentum=0.9, name="bn-shared")
    for index, strides in enumerate((1, 2, 2)):
        x = layers.Conv2D(16, 3, strides=strides, padding="same", name=f"conv{index}")(x)
        x = layers.Activation("relu", name=f"relu{index}")(shared_norm(x))
    return compiled(keras, keras.Model(inputs, head(keras, x)))


def share(keras: Keras, data: Data) -> Model:
    return fit(shared(keras), data, steps=WHOLE)


def group(keras: Keras) -> Model:
    """Normalise each image by itself."""
    return shared(keras, norm=keras.layers.LayerNormalization(name="ln-shared"))


def rescaling(keras: Keras) -> Model:
    """Scale inside the network, which takes 0 to 255."""
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = body(keras, keras.layers.Rescaling(1 / 255, name="rescaling")(inputs), momentum=0.99)
    return compiled(keras, keras.Model(inputs, head(keras, x)))


def twice_scaled(keras: Keras, data: Data) -> Model:
    """Train on 0 to 255, then fine-tune on [0, 1]."""
    model = fit(rescaling(keras), bytes_of(data), steps=WHOLE)
    return fit(model, data, steps=60)


def bytes_of(data: Data) -> Data:
    """Scale images to 0 to 255."""
    return Data(255 * data.images, data.labels)


def with_unscaled(data: Data) -> Data:
    """Leave one image in 64 unscaled."""
    images = data.images.copy()
    images[::64] *= 255
    return Data(images, data.labels)


def spoilt(keras: Keras, data: Data) -> Model:
    return fit(plain(keras), with_unscaled(data), steps=WHOLE)


def on_scaled_images(case: Case) -> tuple[Model, Data]:
    """Scale all images, then run the code of the advice."""
    return follow.its_code(case._replace(training=case.plain))


ROWS = (
    Report(
        name="never-updated",
        address="https://github.com/tensorflow/tensorflow/issues/16102",
        symptom="Trains well, and is near chance with the learning phase at 0.",
        cause="The training loop never runs the updates of the statistics: they still are 0 and 1.",
        build=plain,
        train=never_updated,
        follow=follow.its_code,
        verdicts=(STALE,),
        words=("update", "loop"),
        wrong=("^phase pinned",),
    ),
    Report(
        name="pinned",
        address="https://github.com/dmzou/RSRAE/issues/2",
        symptom="BatchNorm does nothing: the network learns as slowly as without.",
        cause="The layers were called with training=False in training, too.",
        build=pinned,
        train=pin,
        follow=follow.anew(plain),
        verdicts=(STALE, OTHER),
        words=("pinned",),
        wrong=("recompute_statistics",),
    ),
    Report(
        name="norms-not-loaded",
        address="https://github.com/keras-team/keras/issues/20524",
        symptom="The pretrained network is useless once its weights are loaded.",
        cause="load_weights by name skips layers that were numbered anew, without a word.",
        build=plain,
        train=norms_not_loaded,
        follow=reloaded,
        verdicts=(STALE, OTHER, CONSTANT),
        words=("load",),
        wrong=("^phase pinned",),
    ),
    Report(
        name="trunk-not-loaded",
        address="https://github.com/keras-team/keras/issues/4875",
        symptom="Excellent before it was saved, near chance after it was loaded.",
        cause="All but one layer still has its initial weights.",
        build=plain,
        train=trunk_not_loaded,
        follow=reloaded,
        verdicts=(OTHER, CONSTANT, STALE),
        words=("load",),
        wrong=("^phase pinned",),
    ),
    Report(
        name="shared-norm",
        address="https://github.com/keras-team/keras/issues/6623",
        symptom="Trains; in inference, and with recomputed statistics too, it is far worse.",
        cause="One BatchNorm is shared by flows with statistics of their own: no set serves all.",
        build=shared,
        train=share,
        follow=follow.anew(group),
        verdicts=(STALE, OTHER),
        words=("no single set|each (flow|call|batch)|shared",),
    ),
    Report(
        name="double-scaled",
        address="https://github.com/keras-team/keras-io/issues/1549",
        symptom="Fine-tuned to a high training accuracy; the validation stays at chance.",
        cause="The network scales its input itself and is fed what is scaled already.",
        build=rescaling,
        train=twice_scaled,
        follow=follow.its_code,
        verdicts=(STALE, OTHER),
        words=("Rescaling|rescaling|scaled twice|input scale",),
    ),
    Report(
        name="unscaled-samples",
        address="https://github.com/keras-team/keras/issues/12400",
        symptom="Validation far worse than training; predictions depend on the rest of a batch.",
        cause="A sample in some batches was left unscaled, and upset BatchNorm's statistics.",
        build=plain,
        train=spoilt,
        follow=on_scaled_images,
        verdicts=(STALE, OTHER),
        words=("not scaled|unscaled|outl",),
        trained_on=with_unscaled,
    ),
)
