"""Code to paste beside `model`, `images` and `labels`: a piece for each thing that is found."""

from __future__ import annotations

PRECISE = """\
from suite.diagnose import recompute_statistics

recompute_statistics(model, images, batch_size=32)  # images of the training, some hundred or more
model.save("mended.keras")
"""
APPLY = """\
from suite.diagnose.loading import keras_of
from suite.fixes import apply

mended = apply({arguments}).model  # a copy: the same weights, but no optimizer
"""
TRAINED = """\
keras = keras_of(model)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # as yours
"""
MOMENTUM = (
    APPLY
    + TRAINED
    + """\
mended.compile(keras.optimizers.SGD(1e-3), loss)  # as yours
mended.fit(images, labels, batch_size=32)  # {steps} steps leave a thousandth of the distance
"""
)
SLOWER = (
    """\
from suite.diagnose.loading import keras_of

"""
    + TRAINED
    + """\
model.load_weights("checkpoint.weights.h5")  # of yours, from before it diverged
model.compile(keras.optimizers.SGD(1e-4, clipnorm=1.0), loss)  # a tenth of your learning rate
model.fit(images, labels, batch_size=32)
"""
)
ANEW = """\
from suite.networks.batch_norm import walk

layer = next(layer for layer in walk(model) if layer.name == {layer})
fresh = type(layer).from_config(layer.get_config())
fresh.build(layer.input.shape)
layer.set_weights(fresh.get_weights())  # then train on, with a smaller learning rate
"""
CLASSES = """\
import os

folder = "images"  # of the training
print(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()))  # output 0, 1, 2, ...
"""
SHUFFLE = """\
import numpy as np

order = np.random.default_rng(0).permutation(len(images))
images, labels = images[order], labels[order]  # by one order, never each by its own
"""

NORMALISED = (
    APPLY
    + TRAINED
    + """\
mended.compile(keras.optimizers.SGD(1e-3), loss)  # as yours
mended.fit(images, labels, batch_size=32)  # until the loss is what it was
"""
).replace("{arguments}", '"group-norm", keras_of(model), model')
LOADING = """\
import numpy as np

before = [np.array(values) for values in model.get_weights()]
model.load_weights("trained.weights.h5")  # yours, with all arguments that you give
same = [np.array_equal(old, new) for old, new in zip(before, model.get_weights())]
print([weight.name for weight, kept in zip(model.weights, same) if kept])  # these were not loaded
"""
BALANCED = (
    """\
import numpy as np
from suite.diagnose.loading import keras_of

"""
    + TRAINED
    + """\
classes, counts = np.unique(labels, return_counts=True)
weights = {int(c): len(labels) / (len(classes) * n) for c, n in zip(classes, counts)}
model.compile(keras.optimizers.SGD(1e-3), loss)  # as yours
model.fit(images, labels, batch_size=32, class_weight=weights)
"""
)
RECALLS = """\
import numpy as np

predicted = np.argmax(np.asarray(model.predict(images)), axis=-1)
for c in np.unique(labels):
    of_it = labels == c
    print(c, of_it.sum(), "images, right in", np.mean(predicted[of_it] == c))  # then in training
"""
OUTLYING = (
    """\
import numpy as np

images = np.array(images, np.float32)
size = np.sqrt(np.mean(images.reshape(len(images), -1) ** 2, axis=1))
images[size > 30 * np.median(size)] /= 255  # where they are loaded, in training, too
"""
    + PRECISE
)
UNBIASED = """\
import numpy as np
from suite.networks.batch_norm import walk

layer = [layer for layer in walk(model) if getattr(layer, "bias", None) is not None][-1]
outputs = np.asarray(model.predict(images))
logits = np.log(outputs + 1e-38) if (outputs >= 0).all() and outputs.max() <= 1 else outputs
kernel, bias = layer.get_weights()
layer.set_weights([kernel, bias - logits.mean(axis=0)])
"""
PHASES = """\
from suite.networks.batch_norm import walk

inside = [layer for layer in walk(model) if not hasattr(layer, "layers")]
print([layer.name for layer in inside if "training" in layer.call.__code__.co_varnames])
"""
BY_HEART = (
    """\
from suite.diagnose.loading import keras_of

"""
    + TRAINED
    + """\
few = keras.models.clone_model(model)  # new weights
few.compile(keras.optimizers.Adam(1e-3), loss)
few.fit(images[:32], labels[:32], batch_size=32, epochs=200, verbose=0)
print(few.evaluate(images[:32], labels[:32]))  # near 0 if it can learn them at all
"""
)
PHASE_PASSED = """\
from suite.diagnose import pass_phase_on, recompute_statistics

changed = pass_phase_on(model, images)  # the layers that are of Keras' own class now
print(changed or "no layer has a class of Keras with a phase behind it: mend it in your code")
if changed:
    recompute_statistics(model, images, batch_size=32)  # images of the training
    model.save("mended.keras")  # in your own code: call(self, inputs, training=None), passed on
"""
FULL = """\
from suite.diagnose import in_float32, recompute_statistics

mended = in_float32(model)  # a copy: the same weights, but no optimizer
recompute_statistics(mended, images, batch_size=32)  # images of the training
mended.save("mended.keras")  # in your own code dtype="float32" for {layer} may do
"""
AGAIN = """\
from suite.diagnose import diagnose

print("\\n".join(diagnose(model, images, labels).words))  # images and labels of the training
"""
MORE = """\
from suite.diagnose import diagnose

count = 4 * min(256, len(images))  # of images like those examined, as many as you have
print("\\n".join(diagnose(model, images, labels, max_images=count).words))
"""
RESCALED_NORMS = (
    """\
import numpy as np

from suite.diagnose import recompute_statistics
from suite.diagnose.loading import keras_of
from suite.networks.batch_norm import walk

for layer in walk(model):
    gamma = getattr(layer, "gamma", None)
    if hasattr(layer, "moving_mean") and gamma is not None:
        gamma.assign(np.ones(gamma.shape, np.float32))
recompute_statistics(model, images, batch_size=32)  # images of the training
"""
    + TRAINED
    + """\
model.compile(keras.optimizers.Adam(1e-3), loss)  # as yours, with no decay of gamma and beta
model.fit(images, labels, batch_size=32, epochs=5)
"""
)
FINITE = """\
import numpy as np

from suite.diagnose.loading import keras_of
from suite.diagnose.network import Network

network = Network(model, keras_of(model))
for start in range(0, len(images), 32):
    part = images[start : start + 32]
    for training in (False, True):
        outputs = network.outputs(part, training=training)
        print(start, training, np.isfinite(part).all(), np.isfinite(outputs).all())
"""
LOSS = """\
from suite.diagnose.loading import keras_of

losses = keras_of(model).losses
several = model.output_shape[-1] > 1
kind = losses.SparseCategoricalCrossentropy if several else losses.BinaryCrossentropy
model.compile(keras_of(model).optimizers.Adam(1e-3), kind(from_logits={from_logits}))  # as yours
model.fit(images, labels, batch_size=32, epochs=5)  # class numbers as labels
"""
NEW_HEAD = """\
from suite.diagnose.loading import keras_of

keras = keras_of(model)
head = next(layer for layer in model.layers if layer.name == {layer})
classes = int(labels.max()) + 1
outputs = keras.layers.Dense(classes, activation="softmax", name="new_head")(head.input)
mended = keras.Model(model.input, outputs)
mended.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")  # as yours
mended.fit(images, labels, batch_size=32, epochs=5)
"""
UNPINNED = (
    """\
from suite.diagnose.loading import keras_of
from suite.networks.batch_norm import walk

for layer in walk(model):
    layer.trainable = True
"""
    + TRAINED
    + """\
model.compile(keras.optimizers.SGD(1e-3), loss)  # as yours
model.fit(images, labels, batch_size=32)  # in a loop of your own: model(batch, training=True)
"""
)
