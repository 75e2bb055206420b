"""Reports of images in another scale than that of the training."""

from __future__ import annotations

from suite.diagnose.found import OTHER
from suite.networks.types import Keras, Model
from tests.diagnose.reports import follow
from tests.diagnose.reports.nets import compiled, fit, plain, signs
from tests.diagnose.reports.report import Data, Report


def bytes_of(data: Data) -> Data:
    """Feed 0 to 255."""
    return Data(255 * data.images, data.labels)


def divided_twice(data: Data) -> Data:
    """Feed [0, 1/255]."""
    return Data(data.images / 255, data.labels)


def reversed_channels(data: Data) -> Data:
    """Feed BGR."""
    return Data(data.images[..., ::-1].copy(), data.labels)


def train(keras: Keras, data: Data) -> Model:
    return fit(plain(keras), data, steps=700)


def few_epochs(keras: Keras) -> Model:
    return compiled(keras, signs(keras, momentum=0.99))


def train_little(keras: Keras, data: Data) -> Model:
    return fit(few_epochs(keras), data, steps=280)


ROWS = (
    Report(
        name="fed-bytes",
        address="https://github.com/lmoroney/dlaicourse/issues/129",
        symptom="Good in validation; uploaded images are told wrong.",
        cause="The generator scales to [0, 1], the code that predicts does not.",
        build=plain,
        train=train,
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("wrong input scale", "255"),
        use=bytes_of,
    ),
    Report(
        name="fed-bytes-early",
        address="https://github.com/keras-team/keras/issues/6993",
        symptom="Trained for three epochs, it predicts the same class for every image.",
        cause="The images to predict are not rescaled; the moving variance is off by 255 squared.",
        build=few_epochs,
        train=train_little,
        follow=follow.its_code_then_statistics,
        verdicts=(OTHER,),
        words=("wrong input scale", "255"),
        use=bytes_of,
    ),
    Report(
        name="divided-twice",
        address="https://github.com/GoogleCloudPlatform/asl-ml-immersion/pull/424",
        symptom="Almost always the same flower.",
        cause="Images are converted to [0, 1] and divided by 255 once more.",
        build=plain,
        train=train,
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("wrong input scale", "255"),
        use=divided_twice,
        weights="fed-bytes",
    ),
    Report(
        name="reversed-channels",
        address="https://github.com/rodrigo2019/keras_yolo2/issues/19",
        symptom="Worse predictions than in validation.",
        cause="OpenCV reads BGR; the training reverses the channels, the prediction does not.",
        build=plain,
        train=train,
        follow=follow.its_code,
        verdicts=(OTHER,),
        words=("channels reversed|BGR",),
        use=reversed_channels,
        weights="fed-bytes",
    ),
)
