"""What do the dropout layers of a network draw, layer by layer, and where are they at work?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import fft

from suite.measure.run import Run, probe
from suite.measure.summaries import rounded
from suite.measure.weights import build
from suite.networks.phases import Phases
from suite.networks.types import Images, Keras, Model

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from suite.measure.summaries import Entry

PASSES = 12  # of the same batch in the training phase, for each seed
STEPS = 4  # of the same batch at a learning rate of zero
UNITS = 4000  # whose forward and backward masks are compared
DRAWN = 600  # masks of the same layer, which are compared with as many as half of them later
CLASSES = 10  # of the few-layer network that does so
SCALED = 1e-3  # of the root mean square of gradients that agree but for rounding

Masks: TypeAlias = "NDArray[np.float64]"


class Dropped(NamedTuple):
    """What was put into one dropout layer and what came out, ``(passes, images, units)`` both.

    Attributes:
        inputs: In the training phase.
        outputs: In the training phase.
        change: Largest difference of output and input in the inference phase.
        channels: Units at one place of the image.
        rate: The share to drop that the layer was told.
        behind: The kind of the layer that it follows, such as "MaxPooling2D".
    """

    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    change: float
    channels: int
    rate: float
    behind: str


class Alone(NamedTuple):
    """What is seen of dropout where it stands alone.

    Attributes:
        gradient_error: The share of units whose gradient is not dropped, or scaled, as their value.
        correlation: Of its masks over many passes: the strongest coefficient, and its pairs.
    """

    gradient_error: float
    correlation: list[float]


class Found(NamedTuple):
    """What is known of a network's dropout.

    Attributes:
        metrics: Numbers that are judged by bands; none without dropout.
        entries: One for each layer, and one for the steps.
    """

    metrics: dict[str, float]
    entries: list[Entry]


def dropout(run: Run, seeds: Sequence[int]) -> Found:
    """Measure every dropout layer inside the case's network, for two seeds, and its steps.

    Args:
        run: What the case runs with.
        seeds: Two seeds, of one network each.
    """
    images, _ = probe(run.train, run.case.batch_size)
    first, other = (dropped(run, seed, images, passes=PASSES) for seed in seeds)
    if not first:
        return Found({}, [])
    alone = {rate: tried_alone(run, rate) for rate in {row.rate for row in first}}
    entries = [
        described(f"Dropout {place}", *rows, alone[rows[0].rate])
        for place, rows in enumerate(zip(first, other), start=1)
    ]
    again = dropped(run, seeds[0], images, passes=1)
    repeats = all(np.array_equal(one.outputs[:1], two.outputs) for one, two in zip(first, again))
    spreads = step_spreads(run, seeds[0])
    metrics = {
        "dropout_seed_repeats": float(repeats),
        "dropout_rate_error": max(map(rate_error, entries)),
        "dropout_scale_error": max(entry["scale_error"] for entry in entries),
        "dropout_inference_change": max(entry["inference_change"] for entry in entries),
        "dropout_gradient_error": max(entry["gradient_error"] for entry in entries),
        **spreads,
    }
    steps = {
        "quantity": "dropout steps",
        "seeds": list(seeds),
        "repeats": metrics["dropout_seed_repeats"],
        **spreads,
    }
    return Found(metrics, [*entries, *between(first), steps])


def dropped(run: Run, seed: int, images: Images, *, passes: int) -> list[Dropped]:
    """Pass `images` through a network of `seed`; keep what each dropout layer took and gave."""
    run.stack.seed(seed)
    model = build(run.stack, run.case)
    layers = dropouts(run.stack.keras, model)
    if not layers:
        return []
    network = run.stack.network(opened(run.stack.keras, model, layers))
    outputs = np.stack([network.logits(images, training=True) for _ in range(passes)])
    inference = network.logits(images, training=False)
    sizes = [int(np.prod(layer.output.shape[1:])) for layer in layers for _ in range(2)]
    cuts = np.cumsum(sizes)[:-1]
    training, calm = np.split(outputs, cuts, axis=2), np.split(inference, cuts, axis=1)
    return [
        Dropped(
            training[2 * place],
            training[2 * place + 1],
            float(np.max(np.abs(calm[2 * place + 1] - calm[2 * place]))),
            int(layer.output.shape[-1]),
            float(layer.rate),
            type(model.layers[model.layers.index(layer) - 1]).__name__,
        )
        for place, layer in enumerate(layers)
    ]


def dropouts(keras: Keras, model: Model) -> list[Model]:
    """List the dropout layers of `model`, in order."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


def opened(keras: Keras, model: Model, layers: Sequence[Model]) -> Model:
    """Make a model of the same layers that gives the input and the output of each of `layers`."""
    ends = [end for layer in layers for end in (layer.input, layer.output)]
    flat = [keras.layers.Flatten()(end) for end in ends]
    return keras.Model(model.input, keras.layers.Concatenate()(flat))


def described(name: str, first: Dropped, other: Dropped, alone: Alone) -> Entry:
    """Describe a dropout layer by the masks that two seeds drew in it, and by one that is alone."""
    given = [row.inputs != 0 for row in (first, other)]
    share = 1 - kept_share(first, other)
    ratios = np.concatenate(
        [(row.outputs[kept] / row.inputs[kept]).ravel() for row, kept in zip_kept(first, other)]
    )
    error = np.max(np.abs(ratios * (1 - first.rate) - 1)) if ratios.size else np.inf
    return {
        "quantity": "dropout",
        "layer": name,
        "rate": first.rate,
        "behind": first.behind,
        "units": int(first.inputs.shape[2]),
        "draws": int(sum(mask.sum() for mask in given)),
        "share": rounded(share),
        "scale": rounded(ratios.mean()) if ratios.size else 0.0,
        "scale_error": rounded(error),
        "inference_change": rounded(max(first.change, other.change)),
        "gradient_error": alone.gradient_error,
        "correlations": {**dict(independence(first, other, share)), "passes": alone.correlation},
        "repeat": repeat(centred(first, share).reshape(1, -1)),
    }


def zip_kept(*rows: Dropped) -> Iterator[tuple[Dropped, NDArray[np.bool_]]]:
    """Yield each row with a mask of what was not dropped of what was there."""
    for row in rows:
        yield row, (row.inputs != 0) & (row.outputs != 0)


def kept_share(*rows: Dropped) -> float:
    """Compute the share that was kept of all that was not zero before."""
    kept = sum(int(mask.sum()) for _, mask in zip_kept(*rows))
    return float(kept / sum(int((row.inputs != 0).sum()) for row in rows))


def independence(first: Dropped, other: Dropped, share: float) -> Iterator[tuple[str, list[float]]]:
    """Correlate masks over units, places of the image, images, steps and seeds.

    Of the steps it is the strongest correlation of any that are so many apart.
    """
    mask = centred(first, share)
    yield "units", alike(mask[..., :-1], mask[..., 1:])
    if mask.shape[2] > first.channels:
        yield "places", alike(mask[..., : -first.channels], mask[..., first.channels :])
    yield "images", alike(mask[:, :-1], mask[:, 1:])
    apart = [alike(mask[:-lag], mask[lag:]) for lag in range(1, len(mask))]
    yield "steps", max(apart, key=lambda found: abs(found[0]) * np.sqrt(found[1]))
    yield "seeds", alike(mask, centred(other, share))


def centred(row: Dropped, share: float) -> Masks:
    """Mark what was dropped by ``1 - share``, what was kept by ``-share``, what was 0 by 0."""
    marks = (row.outputs == 0) - share
    return np.asarray(np.where(row.inputs != 0, marks, 0.0))


def alike(first: Masks, second: Masks) -> list[float]:
    """Correlate two masks where both have a unit; give the coefficient and the pairs."""
    both = (first != 0) & (second != 0)
    norm = np.sqrt(np.sum(first[both] ** 2) * np.sum(second[both] ** 2))
    value = float(np.sum(first[both] * second[both]) / norm) if norm else 0.0
    return [rounded(value), int(both.sum())]


def repeat(flat: NDArray[np.float64]) -> dict[str, Any]:
    """Find the lag at which draws repeat most, ``(draws, elements)``, by their autocorrelation.

    Elements that are 0 were not drawn, and make no pair.

    Returns:
        ``lag``, in elements of one draw; ``correlation``, its coefficient and pairs; ``lags``, how
        many it is the strongest of. A lag leaves at least a quarter of the elements.
    """
    lags = np.arange(1, max(2, 3 * flat.shape[1] // 4))
    there = (flat != 0).astype(np.float64)
    pairs = np.maximum(np.rint(_at_lags(there, lags)), 1)
    square = np.sum(flat**2) / max(1.0, np.sum(there))
    found = _at_lags(flat, lags) / pairs / (square or 1.0)
    place = int(np.argmax(np.abs(found) * np.sqrt(pairs)))
    strongest = [rounded(float(found[place])), int(pairs[place])]
    return {"lag": int(lags[place]), "correlation": strongest, "lags": len(lags)}


def _at_lags(flat: NDArray[np.float64], lags: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the products of elements that are so many apart, over all draws."""
    size = fft.next_fast_len(2 * flat.shape[1], real=True)
    power = sum(np.abs(fft.rfft(draw, size)) ** 2 for draw in flat)
    products: NDArray[np.float64] = fft.irfft(power, size)[lags]
    return products


def between(rows: Sequence[Dropped]) -> Iterator[Entry]:
    """Yield the correlation of the masks of each two layers, in the order in which they drew."""
    flat = [centred(row, 1 - kept_share(row)).reshape(PASSES, -1) for row in rows]
    for one, other in itertools.combinations(range(len(rows)), 2):
        shared = min(flat[one].shape[1], flat[other].shape[1])
        yield {
            "quantity": "dropout layers",
            "layers": [f"Dropout {one + 1}", f"Dropout {other + 1}"],
            "correlations": {"layers": alike(flat[one][:, :shared], flat[other][:, :shared])},
        }


def rate_error(entry: Entry) -> float:
    """Measure the distance of the share dropped from the rate, in standard deviations."""
    rate = entry["rate"]
    deviation = np.sqrt(rate * (1 - rate) / entry["draws"])
    return float(abs(entry["share"] - rate) / deviation)


def tried_alone(run: Run, rate: float) -> Alone:
    """Try a dropout layer of a rate behind `UNITS` units that are all 1, of an image of one pixel.

    In one step its weights behind get no gradient where a unit is dropped; the weight before it
    gets none where the unit's gradient is. Where it is kept, the gradient of the weight before is
    what its weights behind and their gradients make of it, if it is scaled as the value is.
    """
    keras, stack = run.stack.keras, run.stack
    stack.seed(run.seed)
    inputs = keras.Input((1, 1, 1))
    units = keras.layers.Dense(UNITS, use_bias=False)(keras.layers.Flatten()(inputs))
    dropped = keras.layers.Dropout(rate)(units)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, use_bias=False)(dropped))
    behind = np.random.default_rng(0).normal(0, 0.01, (UNITS, CLASSES)).astype(np.float32)
    model.set_weights([np.ones((1, UNITS), np.float32), behind])
    image = np.ones((1, 1, 1, 1), np.float32)
    slopes = stack.gradients(model, phases=None, epsilon=run.case.epsilon)(
        image, np.zeros(1, np.int64)
    )
    before, after = slopes[0][0], np.sum(behind * slopes[1], axis=1)
    value, slope = np.abs(slopes[1]).max(axis=1) > 0, np.abs(before) > 0
    scaled = np.abs(before - after) <= SCALED * np.sqrt(np.mean(after**2))
    network = stack.network(keras.Model(inputs, dropped))
    masks = np.array([network.logits(image, training=True)[0] == 0 for _ in range(DRAWN)])
    return Alone(float(np.mean((value != slope) | ~scaled)), over_passes(masks))


def over_passes(masks: NDArray[np.bool_]) -> list[float]:
    """Find the strongest correlation of masks ``(passes, units)`` that are so many passes apart.

    Returns:
        The coefficient and its pairs. A lag leaves at least half of the passes.
    """
    marks = masks - masks.mean()
    products = marks @ marks.T / (np.mean(marks**2) * marks.shape[1] or 1.0)
    counts = [len(marks) - lag for lag in range(1, len(marks) // 2 + 1)]
    found = [(np.trace(products, len(marks) - n) / n, n * marks.shape[1]) for n in counts]
    value, pairs = max(found, key=lambda row: abs(row[0]) * np.sqrt(row[1]))
    return [rounded(float(value)), pairs]


def step_spreads(run: Run, seed: int) -> dict[str, float]:
    """Measure how the losses of steps vary that change no weight, as only dropout makes them.

    They tell in which passes of the plain and of the case's own loss dropout is at work.
    """
    plain, own = (losses(run, seed, phases) for phases in (None, run.case.phases))
    return {
        "plain_step_spread": float(np.std(plain[:, 0])),
        "clean_step_spread": float(np.std(own[:, 0])),
        "adversarial_step_spread": float(np.std(own[:, 1])),
    }


def losses(run: Run, seed: int, phases: Phases | None) -> NDArray[np.float64]:
    """Make steps of one batch at a rate of zero; list both cross-entropies of each, in nats."""
    run.stack.seed(seed)
    model = build(run.stack, run.case)
    step = run.stack.train_step(model, phases=phases, epsilon=run.case.epsilon)
    images, labels = probe(run.train, run.case.batch_size)
    results = [step(images, labels, 0.0) for _ in range(STEPS)]
    return np.array([(row.clean_ce, row.adversarial_ce or 0.0) for row in results])
