"""Implied constants: what a release's first steps really computed with, read off its trace."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from suite.errors import RecordError
from suite.records import Record

if TYPE_CHECKING:
    from typing import TypeAlias

T = TypeVar("T")
U = TypeVar("U")
ACCURACIES = ("clean_accuracy", "adversarial_accuracy")
STATE = "state"  # the name in an entry of the state that its steps start from
LAGS = 3  # the fit separates the shares of the last three gradients in an update
NO_MOMENTUM = 1e-3  # of the newest gradient's share; a smaller one of the second means no momentum
REPLAYED = 5e-5  # nats; a step and the suite's own passes differ by less than 1e-5
CARRIED = 0.01  # from all of the momentum, which the fit finds to 1e-3
NO_DECAY = 5e-5  # of the learning rate; without decay the fit finds less than 2e-5


class Place(NamedTuple):
    """Where an entry stands in a trace.

    Attributes:
        step: Number of the training step, from 0 on.
        quantity: Kind of the entry, such as "gradient" or "clean_ce".
        layer: Name of the layer; empty if the entry is not about one.
        weight: Name of the weight in the layer; empty if the entry is not about one.
    """

    step: int
    quantity: str
    layer: str = ""
    weight: str = ""

    def __str__(self) -> str:
        layer = "/".join(part for part in (self.layer, self.weight) if part)
        return f"step {self.step}, {self.quantity}{f' of {layer}' if layer else ''}"


Trace: TypeAlias = "dict[Place, Mapping[str, Any]]"
"""The entries of a record of `suite.measure.questions.parity` by place, cause before effect."""


class Descent(NamedTuple):
    """The settings of stochastic gradient descent that fit the updates best.

    Attributes:
        rate: Learning rate, in units of the one that was asked for.
        momentum: Share of the last step that the next one keeps.
        nesterov: True where the momentum is Nesterov's.
        decay: Share of each weight that an update takes away, in units of the learning rate.
        carried: How much of the momentum is kept where the learning rate changes, beside its own
            share: 1 if each gradient keeps the rate of its step; less where the rate multiplies
            the momentum later.
        unexplained: Size of the part of the update that the settings do not explain, over its
            whole size.
        error: Standard error of the fit, relative to the share of a gradient.
    """

    rate: float
    momentum: float
    nesterov: bool
    decay: float
    carried: float
    unexplained: float
    error: float

    def __str__(self) -> str:
        kind = "Nesterov's momentum" if self.nesterov else "momentum"
        decays = abs(self.decay) > NO_DECAY
        decay = f", weights shrinking by {self.decay:.2g} of it" if decays else ""
        kept = abs(self.carried - 1) > CARRIED
        carried = f", {self.carried:.3g} of it kept where the rate falls" if kept else ""
        momentum = f"{kind} {self.momentum:.3g}{carried}"
        return f"SGD at {self.rate:.4g} of the learning rate, {momentum}{decay}"


class Replay(NamedTuple):
    """How a step differs from the suite's own passes, repeated from the same weights, in nats.

    Attributes:
        clean: Cross-entropy of the clean images: that of the step less that of the suite.
        adversarial: The same of the perturbed images.
        reach: How far the cross-entropy rises under attack, in units of the suite's rise.
        miscounted: How many images more the step calls recognised, clean and perturbed.
    """

    clean: float
    adversarial: float
    reach: float
    miscounted: tuple[float, float]


class Itself:
    """Anything as a key: equal to nothing else, whatever it holds."""

    def __init__(self, content: Any) -> None:
        """Stand for `content`."""
        self.content = content

    def __hash__(self) -> int:
        return id(self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.content is other.content


def remembered(function: Callable[[T], U]) -> Callable[[T], U]:
    """Let a function of a record or a trace remember its last two answers.

    A reference is compared with many others, and what is read off a trace is needed several times.
    None of it may be changed by who asks.
    """

    @functools.lru_cache(maxsize=2)
    def answer(key: Itself) -> U:
        return function(key.content)

    @functools.wraps(function)
    def asked(content: T) -> U:
        return answer(Itself(content))

    return asked


@remembered
def trace_of(record: Record) -> Trace:
    """Read the trace from a record.

    Raises:
        RecordError: If the record holds no trace.
    """
    try:
        return {
            Place(e["step"], e["quantity"], e["layer"], e.get("weight", "")): e
            for e in record.statistics
        }
    except KeyError as error:
        raise RecordError(
            f"{record.name} of {record.release} holds no trace: {error} is missing. Make it anew: "
            f'`nox -s "benchmarks({record.release})"`.'
        ) from error


def layers_of(trace: Trace) -> dict[str, Mapping[str, Any]]:
    """Read the constants of every BatchNorm layer, by its name."""
    return {place.layer: e for place, e in trace.items() if place.quantity == "batch norm"}


def steps_of(trace: Trace) -> list[int]:
    """List the steps of a trace."""
    return sorted({place.step for place in trace})


def projected(trace: Trace, place: Place) -> np.ndarray:
    """Read the random projections of the array at `place`, ``(projections,)``."""
    return np.array(trace[place]["projections"])


def ratio(first: np.ndarray, second: np.ndarray) -> float:
    """Fit the factor that brings `second` nearest to `first`; 0 if `second` is 0."""
    square = float(np.dot(second, second))
    return float(np.dot(first, second)) / square if square else 0.0


def share_moved(trace: Trace, layer: str, *, step: int = 0, kind: str = "mean") -> float:
    """Measure how far a moving statistic of a layer went towards the batch's; 1 is all the way."""
    change = projected(trace, Place(step, "change", layer, f"moving_{kind}"))
    return ratio(change, projected(trace, Place(step, f"{kind} distance", layer)))


@remembered
def update_counts(trace: Trace) -> dict[tuple[str, str], float]:
    """Count the updates that explain how far each moving mean and variance went in step 0.

    Returns:
        The counts by layer and kind, "mean" or "variance"; not finite for a momentum of 0 or 1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            (layer, kind): float(
                np.log1p(-share_moved(trace, layer, kind=kind)) / np.log(entry["observed_momentum"])
            )
            for layer, entry in layers_of(trace).items()
            for kind in ("mean", "variance")
        }


def updates_per_step(trace: Trace) -> float:
    """Count the updates of the moving means in step 0, the median over the layers."""
    counts = [count for (_, kind), count in update_counts(trace).items() if kind == "mean"]
    return float(np.median(counts)) if counts else 0.0


def fgsm_epsilon(trace: Trace) -> float | None:
    """Read the largest change of a pixel by the attack; None without an attack."""
    found = [entry["largest"] for place, entry in trace.items() if place.quantity == "perturbation"]
    return max(found) if found else None


def replay(trace: Trace, step: int) -> Replay | None:
    """Compare a step with the suite's own passes; None under the plain loss, which has none."""
    own = trace.get(Place(step, "replay"))
    if own is None:
        return None
    clean, adversarial = (trace[Place(step, f"{n}_ce")]["value"] for n in ("clean", "adversarial"))
    rise = own["adversarial_ce"] - own["unperturbed_ce"]
    reach = (adversarial - own["unperturbed_ce"]) / rise if rise else float("nan")
    images = trace[Place(step, "batch")]["images"]
    more = [trace[Place(step, n)]["value"] - own[n] for n in ACCURACIES]
    miscounted = (images * more[0], images * more[1])
    return Replay(clean - own["clean_ce"], adversarial - own["adversarial_ce"], reach, miscounted)


@remembered
def loss_weights(trace: Trace) -> tuple[float, float] | None:
    """Fit the weights of the clean and the adversarial cross-entropy in the loss.

    The fit needs two steps of finite numbers; None where there are fewer.
    """
    values = [
        [trace[Place(step, name)]["value"] for name in ("clean_ce", "adversarial_ce", "loss")]
        for step in steps_of(trace)
        if Place(step, "adversarial_ce") in trace
    ]
    table = np.array([row for row in values if np.isfinite(np.square(row)).all()])
    if len(table) < 2:  # noqa: PLR2004 - there are two weights
        return None
    clean, adversarial = np.linalg.lstsq(table[:, :2], table[:, 2], rcond=None)[0]
    return float(clean), float(adversarial)


@remembered
def descent(trace: Trace) -> Descent | None:
    """Fit the settings of SGD to the last update, from the gradients up to it.

    An update is a sum of the gradients so far, and of the weights where these decay. With momentum
    m the last gradients, each times its rate, are in the ratio 1 : m : m^2, with Nesterov's
    1 + m : m^2 : m^3. The fit needs three steps of finite numbers; None where there are fewer.
    """
    last = _finite_steps(trace) - 1
    if last < LAGS - 1:
        return None
    weights = [p for p in trace if p.step == last and p.quantity == "gradient"]
    rate = _rate(trace, last)
    update = _joined(trace, weights, last, "change") / -rate
    terms = [
        _rate(trace, step) / rate * _joined(trace, weights, step, "gradient")
        for step in (last, last - 1, last - 2)
    ]
    present = _joined(trace, weights, 0, "initial weight") + sum(
        _joined(trace, weights, step, "change") for step in range(last)
    )
    terms.append(present)
    older = [_joined(trace, weights, step, "gradient") for step in range(last - 2)]
    if not np.isfinite(np.linalg.norm([update, *terms, *older])):
        return None  # too large to be fitted
    return _fitted(update, terms, older)


def _finite_steps(trace: Trace) -> int:
    """Count the steps before the first whose gradients or updates are not finite."""
    broken = [
        place.step
        for place, entry in trace.items()
        if place.quantity in ("gradient", "change")
        and not place.weight.startswith("moving")
        and not np.isfinite(entry["rms"])
    ]
    return min(broken, default=steps_of(trace)[-1] + 1)


@remembered
def first_rates(trace: Trace) -> dict[str, float]:
    """Fit, layer by layer, the multiple of the gradient by which step 0 lowered the weights.

    Returns:
        The multiples in units of the learning rate, by the name of the layer.
    """
    rate = _rate(trace, 0)
    places = [p for p in trace if p.step == 0 and p.quantity == "gradient"]
    layers = {p.layer: [q for q in places if q.layer == p.layer] for p in places}
    return {
        layer: ratio(_joined(trace, own, 0, "change"), _joined(trace, own, 0, "gradient")) / -rate
        for layer, own in layers.items()
    }


def _rate(trace: Trace, step: int) -> float:
    """Read the learning rate that a step was given."""
    return float(trace[Place(step, "batch")]["learning_rate"])


def _joined(trace: Trace, weights: Sequence[Place], step: int, quantity: str) -> np.ndarray:
    """Join the projections of one quantity of all `weights` to one array of one dimension."""
    return np.concatenate(
        [projected(trace, p._replace(step=step, quantity=quantity)) for p in weights]
    )


def _fitted(
    update: np.ndarray, terms: Sequence[np.ndarray], older: Sequence[np.ndarray]
) -> Descent:
    """Fit the settings of the descent that makes `update`.

    Args:
        update: The update, in units of the learning rate.
        terms: The last three gradients, the newest first, and the weights.
        older: The gradients before those, whose shares are fitted but not used.
    """
    columns = np.stack([*terms, *older], axis=1)
    shares, *_ = np.linalg.lstsq(columns, update, rcond=None)
    residual = columns @ shares - update
    unexplained = np.linalg.norm(residual) / np.linalg.norm(update)
    newest, second, third, decay = shares[:4]
    error = _standard_error(columns, residual, shares)
    if abs(second) < NO_MOMENTUM * abs(newest):
        return Descent(float(newest), 0.0, False, float(decay), 1.0, float(unexplained), error)
    momentum = third / second
    plain, nesterov = momentum, momentum**2 / (1 + momentum)
    is_nesterov = abs(second / newest - nesterov) < abs(second / newest - plain)
    rate = newest / (1 + momentum) if is_nesterov else newest
    carried = second / newest / (nesterov if is_nesterov else plain)
    return Descent(
        float(rate), float(momentum), bool(is_nesterov),
        float(decay), float(carried), float(unexplained), error,
    )  # fmt: skip


def _standard_error(columns: np.ndarray, residual: np.ndarray, shares: np.ndarray) -> float:
    """Estimate the standard error of the last three gradients' shares, the largest of them.

    It is relative to the share (least squares; such as Draper and Smith, 1998): where steps are so
    small that the weights' own rounding counts, it grows.
    """
    left = len(residual) - columns.shape[1]
    if left <= 0:
        return 0.0
    variance = float(residual @ residual) / left * np.diag(np.linalg.pinv(columns.T @ columns))
    return float(np.max(np.sqrt(np.maximum(variance[:LAGS], 0)) / np.abs(shares[:LAGS])))
