"""The constants that a trace implies: what a release's first steps really computed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.errors import RecordError
from suite.records import Record

if TYPE_CHECKING:
    from typing import TypeAlias

LAGS = 3  # gradients in the last update whose shares are told apart
NO_MOMENTUM = 1e-3  # relative; the share of the last gradient in an update that has no momentum
NO_DECAY = 5e-5  # of the learning rate; what the fit makes of an update without it is below 2e-5


class Place(NamedTuple):
    """Where in a trace a number stands."""

    step: int
    quantity: str
    layer: str = ""
    weight: str = ""

    def __str__(self) -> str:
        """Return step, layer and quantity in words."""
        layer = "/".join(part for part in (self.layer, self.weight) if part)
        return f"step {self.step}, {self.quantity}{f' of {layer}' if layer else ''}"


Trace: TypeAlias = "dict[Place, Mapping[str, Any]]"
"""The entries of `suite.trace` by their place, cause before effect."""


class Descent(NamedTuple):
    """Stochastic gradient descent, as the updates show it.

    Attributes:
        rate: Learning rate, in units of the one that was asked for.
        momentum: Share of the last step that the next one keeps.
        nesterov: Whether the momentum is Nesterov's.
        decay: Share of each weight, in units of the learning rate, that an update takes away.
        unexplained: Relative size of what no such descent does.
    """

    rate: float
    momentum: float
    nesterov: bool
    decay: float
    unexplained: float

    def __str__(self) -> str:
        """Return the settings in words."""
        kind = "Nesterov's momentum" if self.nesterov else "momentum"
        decays = abs(self.decay) > NO_DECAY
        decay = f", weights shrinking by {self.decay:.2g} of it" if decays else ""
        return f"SGD at {self.rate:.4g} of the learning rate, {kind} {self.momentum:.3g}{decay}"


def trace_of(record: Record) -> Trace:
    """Return the trace that `record` holds.

    Raises:
        RecordError: If it holds none.
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
    """Return the constants of every BatchNorm layer."""
    return {place.layer: e for place, e in trace.items() if place.quantity == "batch norm"}


def steps_of(trace: Trace) -> list[int]:
    """Return the steps of a trace."""
    return sorted({place.step for place in trace})


def projected(trace: Trace, place: Place) -> np.ndarray:
    """Return the projections of the array at `place`."""
    return np.array(trace[place]["projections"])


def ratio(first: np.ndarray, second: np.ndarray) -> float:
    """Return the factor that brings `second` nearest to `first`; 0 if `second` is 0."""
    square = float(np.dot(second, second))
    return float(np.dot(first, second)) / square if square else 0.0


def share_moved(trace: Trace, layer: str, *, step: int = 0, kind: str = "mean") -> float:
    """Return which share of its distance to the batch's a layer's moving statistic went."""
    change = projected(trace, Place(step, "change", layer, f"moving_{kind}"))
    return ratio(change, projected(trace, Place(step, f"{kind} distance", layer)))


def update_counts(trace: Trace) -> dict[tuple[str, str], float]:
    """Return how many updates of its momentum each moving mean and variance of step 0 took."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a momentum of 0 or 1 tells no number
        return {
            (layer, kind): float(
                np.log1p(-share_moved(trace, layer, kind=kind)) / np.log(entry["observed_momentum"])
            )
            for layer, entry in layers_of(trace).items()
            for kind in ("mean", "variance")
        }


def updates_per_step(trace: Trace) -> float:
    """Return how many updates the moving means of step 0 took, the median."""
    counts = [count for (_, kind), count in update_counts(trace).items() if kind == "mean"]
    return float(np.median(counts)) if counts else 0.0


def fgsm_epsilon(trace: Trace) -> float | None:
    """Return the largest change of a pixel that the attack made; None without an attack."""
    found = [entry["largest"] for place, entry in trace.items() if place.quantity == "perturbation"]
    return max(found) if found else None


class Replay(NamedTuple):
    """What step 0 reports beside what the suite's own passes give from the same state, in nats.

    Attributes:
        clean: Cross-entropy of the clean images, reported less replayed.
        adversarial: That of the perturbed images, reported less replayed.
        reach: The reported rise under attack, in units of the replayed one.
    """

    clean: float
    adversarial: float
    reach: float


def replay(trace: Trace) -> Replay | None:
    """Return how far step 0 is from what it was told to do; None under the plain loss."""
    told = trace.get(Place(0, "replay"))
    if told is None:
        return None
    clean, adversarial = (trace[Place(0, f"{n}_ce")]["value"] for n in ("clean", "adversarial"))
    rise = told["adversarial_ce"] - told["unperturbed_ce"]
    reach = (adversarial - told["unperturbed_ce"]) / rise if rise else float("nan")
    return Replay(clean - told["clean_ce"], adversarial - told["adversarial_ce"], reach)


def loss_weights(trace: Trace) -> tuple[float, float] | None:
    """Return the weights of the clean and the adversarial cross-entropy in the loss.

    To tell the two takes two steps of finite numbers; None where there are fewer.
    """
    values = [
        [trace[Place(step, name)]["value"] for name in ("clean_ce", "adversarial_ce", "loss")]
        for step in steps_of(trace)
        if Place(step, "adversarial_ce") in trace
    ]
    table = np.array([row for row in values if np.isfinite(row).all()])
    if len(table) < 2:  # noqa: PLR2004 - as many as there are weights
        return None
    clean, adversarial = np.linalg.lstsq(table[:, :2], table[:, 2], rcond=None)[0]
    return float(clean), float(adversarial)


def descent(trace: Trace) -> Descent | None:
    """Return the settings of SGD that fit the last update best, from the gradients before it.

    An update is a sum of the last gradients, and of the weights where these decay. With momentum
    m it holds them in the ratio 1 : m : m^2, with Nesterov's 1 + m : m^2 : m^3. To tell these
    apart takes three steps of finite numbers; None where there are fewer.
    """
    last = _finite_steps(trace) - 1
    if last < LAGS - 1:
        return None
    weights = [p for p in trace if p.step == last and p.quantity == "gradient"]
    rate = trace[Place(last, "batch")]["learning_rate"]
    update = _joined(trace, weights, last, "change") / -rate
    terms = [_joined(trace, weights, step, "gradient") for step in (last, last - 1, last - 2)]
    present = _joined(trace, weights, 0, "initial weight") + sum(
        _joined(trace, weights, step, "change") for step in range(last)
    )
    terms.append(present)
    older = [_joined(trace, weights, step, "gradient") for step in range(last - 2)]
    return _fitted(update, terms, older)


def _finite_steps(trace: Trace) -> int:
    """Return how many steps there are before the first whose update is not finite."""
    broken = [
        place.step
        for place, entry in trace.items()
        if place.quantity in ("gradient", "change")
        and not place.weight.startswith("moving")
        and not np.isfinite(entry["rms"])
    ]
    return min(broken, default=steps_of(trace)[-1] + 1)


def first_rates(trace: Trace) -> dict[str, float]:
    """Return by which multiple of its gradient step 0 lowered the weights of each layer."""
    rate = trace[Place(0, "batch")]["learning_rate"]
    places = [p for p in trace if p.step == 0 and p.quantity == "gradient"]
    layers = {p.layer: [q for q in places if q.layer == p.layer] for p in places}
    return {
        layer: ratio(_joined(trace, own, 0, "change"), _joined(trace, own, 0, "gradient")) / -rate
        for layer, own in layers.items()
    }


def _joined(trace: Trace, weights: Sequence[Place], step: int, quantity: str) -> np.ndarray:
    """Return the projections of one quantity of all `weights` in one row."""
    return np.concatenate(
        [projected(trace, p._replace(step=step, quantity=quantity)) for p in weights]
    )


def _fitted(
    update: np.ndarray, terms: Sequence[np.ndarray], older: Sequence[np.ndarray]
) -> Descent:
    """Return the descent whose gradients `terms`, the newest first, and weights make `update`."""
    columns = np.stack([*terms, *older], axis=1)
    shares, *_ = np.linalg.lstsq(columns, update, rcond=None)
    unexplained = np.linalg.norm(columns @ shares - update) / np.linalg.norm(update)
    newest, second, third, decay = shares[:4]
    if abs(second) < NO_MOMENTUM * abs(newest):
        return Descent(float(newest), 0.0, False, float(decay), float(unexplained))
    momentum = third / second
    plain, nesterov = momentum, momentum**2 / (1 + momentum)
    is_nesterov = abs(second / newest - nesterov) < abs(second / newest - plain)
    rate = newest / (1 + momentum) if is_nesterov else newest
    return Descent(
        float(rate), float(momentum), bool(is_nesterov), float(decay), float(unexplained)
    )
