"""The calls that save and load: what each format keeps, and what passes from Keras to Keras."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from suite.measure.questions.trap_calls import Seen, raised
from suite.networks.types import Keras, Model

SAVED = Path(__file__).with_name("saved.zip")
"""What `network` was saved as: ``keras2-early`` by TensorFlow 1.14.0, ``keras2`` by 2.15.1 and
``keras3`` by Keras 3.15.1 (TensorFlow 2.21.0); ``.h5`` and ``.keras`` by ``save``, ``.weights.h5``
by ``save_weights``."""

SAVED_DIGEST = "sha256:052e17b0a3ca0873bd2dd8428efaa527e0226519e1cd080fb4815db3a92df46e"
"""A record's code digest covers no other files than these: a changed one must change this."""
REFUSALS = (ImportError, KeyError, OSError, TypeError, ValueError)  # of a file of another Keras
MAGIC = {b"\x89HDF": "HDF5", b"PK\x03\x04": "zip"}
IMAGES = np.arange(12, dtype=np.float32).reshape(4, 3)
FAR = 3.0  # added to what a Normalization adapts to: it is then no identity


def network(keras: Keras) -> Model:
    """Build a BatchNorm and a dense layer of which every weight and statistic counts."""
    inputs = keras.Input((3,))
    layer = keras.layers.BatchNormalization(name="norm")
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(layer(inputs)))
    model.set_weights([values.astype(np.float32) for values in weights(model)])
    return model


def chained(keras: Keras) -> Model:
    """Build `network` with two further dense layers, of one shape: which is which counts."""
    small = network(keras)
    second, third = (keras.layers.Dense(2, name=name) for name in ("second", "third"))
    model = keras.Model(small.input, third(second(small.output)))
    model.set_weights([values.astype(np.float32) for values in weights(model)])
    return model


def weights(model: Model) -> list[np.ndarray]:
    """Count up through the weights of `model`, in the shapes that they have."""
    shapes = [value.shape for value in model.get_weights()]
    return [np.arange(np.prod(shape)).reshape(shape) + 1 + k for k, shape in enumerate(shapes)]


def keras_format(keras: Keras) -> Seen:
    """Observe the format of the file that ``save("model.keras")`` writes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        network(keras).save(str(path))
        start = path.read_bytes()[:4]
    return Seen(MAGIC.get(start, "other"), f"begins with {start!r}")


def saved_h5(keras: Keras) -> Seen:
    """Observe what ``save("model.h5")`` keeps."""
    return _saved(keras, chained(keras), "model.h5")


def saved_keras(keras: Keras) -> Seen:
    """Observe what ``save("model.keras")`` keeps."""
    return _saved(keras, chained(keras), "model.keras")


def saved_folder(keras: Keras) -> Seen:
    """Observe what ``save("model")`` keeps, which has no suffix."""
    return _saved(keras, chained(keras), "model")


def weights_h5(keras: Keras) -> Seen:
    """Observe what ``save_weights("model.h5")`` keeps."""
    return _saved_weights(keras, "model.h5")


def weights_weights_h5(keras: Keras) -> Seen:
    """Observe what ``save_weights("model.weights.h5")`` keeps."""
    return _saved_weights(keras, "model.weights.h5")


def weights_checkpoint(keras: Keras) -> Seen:
    """Observe what ``save_weights("model")`` keeps: a checkpoint of TensorFlow."""
    return _saved_weights(keras, "model")


def normalization_h5(keras: Keras) -> Seen:
    """Observe what ``save("model.h5")`` keeps of a functional model's Normalization."""
    if not hasattr(keras.layers, "Normalization"):
        return Seen("absent", "there is no layers.Normalization")
    inputs = keras.Input(IMAGES.shape[1:])
    return _saved(keras, keras.Model(inputs, _adapted(keras)(inputs)), "model.h5")


def normalization_sequential(keras: Keras) -> Seen:
    """Observe the same of a Sequential model that begins with it."""
    if not hasattr(keras.layers, "Normalization"):
        return Seen("absent", "there is no layers.Normalization")
    model = keras.Sequential([_adapted(keras), keras.layers.Dense(2)])
    return _saved(keras, model, "model.h5")


def _adapted(keras: Keras) -> Model:
    """Make a Normalization that has adapted to other inputs than `IMAGES`."""
    layer = keras.layers.Normalization()
    layer.adapt(IMAGES + FAR)
    return layer


def _saved(keras: Keras, model: Model, name: str) -> Seen:
    """Observe whether a model that is saved and loaded gives the same outputs."""
    outputs = model.predict(IMAGES, verbose=0)
    with TemporaryDirectory() as folder:
        path = str(Path(folder, name))
        try:
            model.save(path)
            loaded = keras.models.load_model(path)
        except REFUSALS as error:
            return _refused(error, folder)
        return _compared(loaded, outputs)


def _saved_weights(keras: Keras, name: str) -> Seen:
    """Observe whether a network gives the same outputs once it has loaded the weights of one."""
    model = chained(keras)
    with TemporaryDirectory() as folder:
        path = str(Path(folder, name))
        try:
            model.save_weights(path)
            loaded = _emptied(chained(keras))
            loaded.load_weights(path)
        except REFUSALS as error:
            return _refused(error, folder)
        return _compared(loaded, model.predict(IMAGES, verbose=0))


def _refused(error: Exception, folder: str) -> Seen:
    """Describe a refused call, without the name of the temporary folder in its error."""
    outcome, detail = raised(error)
    return Seen(outcome, detail.replace(folder + os.sep, ""))


def _emptied(model: Model) -> Model:
    """Set all weights of a model to 0."""
    model.set_weights([np.zeros_like(value) for value in model.get_weights()])
    return model


def _compared(model: Model, outputs: np.ndarray) -> Seen:
    """Tell whether a model that was loaded gives `outputs`."""
    apart = float(np.abs(model.predict(IMAGES, verbose=0) - outputs).max())
    kept = apart <= 1e-4 * float(np.abs(outputs).max())
    return Seen("kept" if kept else "lost", f"outputs differ by up to {apart:.3g}")


def loaded_model(name: str) -> Callable[[Keras], Seen]:
    """Make the call that loads a whole model of `SAVED` and compares it with `network`."""
    return lambda keras: _loaded(keras, name, keras.models.load_model)


def loaded_weights(name: str) -> Callable[[Keras], Seen]:
    """Make the call that loads weights of `SAVED` into the network and compares them."""

    def load(keras: Keras, path: str) -> Model:
        model = _emptied(network(keras))
        model.load_weights(path)
        return model

    return lambda keras: _loaded(keras, name, lambda path: load(keras, path))


def _loaded(keras: Keras, name: str, load: Callable[[str], Model]) -> Seen:
    """Observe whether what is loaded of a file of `SAVED` gives the outputs of `network`."""
    with TemporaryDirectory() as folder:
        with zipfile.ZipFile(SAVED) as saved:
            path = saved.extract(name, folder)
        try:
            model = load(path)
        except REFUSALS as error:
            return _refused(error, folder)
        return _compared(model, network(keras).predict(IMAGES, verbose=0))
