"""Does the case's model train, and does its inference phase follow the training phase?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from suite.data import Split, label_entropy
from suite.measure.checkpoint import Progress, State
from suite.measure.evaluation import confusions, evaluate, example
from suite.measure.kept import Kept
from suite.measure.phases_seen import observable, observed_phases
from suite.measure.run import Measured, Run, fixed_training, probe
from suite.measure.statistics import (
    LayerStatistics,
    layer_statistics,
    statistics_moved,
    statistics_summary,
    updates_per_step,
)
from suite.measure.training import TimedStep, batches, clock_s, step_timing, train
from suite.networks.batch_norm import batch_norms, moving_moments, state_kept
from suite.networks.fixes import Fixed
from suite.networks.phases import INFERENCE, TRAINING
from suite.networks.types import Model
from suite.stacks.protocol import Network, TrainStep

TAIL = 4  # means at the end of training are taken over the last 1/4 of the steps
OBSERVED = 3  # times that BatchNorm is looked at in the course of a training
PROBE_IMAGES = 256  # the moving statistics are compared with those of so many images


class Built(NamedTuple):
    """A model with its fix, and everything of it that is compiled.

    Attributes:
        fixed: The model and how it is trained.
        network: The passes of the model.
        branch: The passes of the perturbed images' own model; None where that is the model.
        moments: Passes of the model for the statistics of batches alone.
        step: The update.
    """

    fixed: Fixed
    network: Network
    branch: Network | None
    moments: Network
    step: TrainStep

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that are trained: one, or two that share weights."""
        return models_of(self.fixed)


class Trained(NamedTuple):
    """A finished training, and what is needed to go on from there.

    Attributes:
        fixed: The model and how it was trained.
        network: The passes of the model.
        step: Its update.
        measured: What the training did.
    """

    fixed: Fixed
    network: Network
    step: TrainStep
    measured: Measured


def train_and_evaluate(run: Run) -> Measured:
    """Train and evaluate the case's model; return its metrics and curves."""
    return trained(run).measured


def trained(run: Run) -> Trained:
    """Train and evaluate the case's model; return it with its metrics and curves."""
    built = built_training(run)
    fixed, model, network, step = built.fixed, built.fixed.model, built.network, built.step
    before = moving_moments(model)
    first = first_step(run, built)
    done, epochs, rows, spent_s = train_epochs(run, built)
    layers = normalisation(run, built)
    curves = {**step_curves(done), **epoch_curves(epochs)}
    metrics = {
        **{name: values[-1] for name, values in epoch_curves(epochs).items()},
        **tail_metrics(curves, entropy=label_entropy(run.train.labels)),
        "parameters": float(model.count_params()),
        **first,
        "statistics_moved": statistics_moved(before, moving_moments(model)),
        **statistics_summary(layers),
    }
    observed = [
        *rows,
        *at_step(layers, len(done)),
        *confusions(network, run.test),
        example(network, run.test, epsilon=run.case.epsilon),
    ]
    earlier = {"earlier_s": spent_s} if spent_s else {}
    timing = {**step_timing(done, fixed.batch_size), **earlier}
    measured = Measured(metrics, curves, observed, timing)
    return Trained(fixed, network, step, measured)


def built_training(run: Run) -> Built:
    """Make the case's model with the seed's weights, and compile it, if no seed before did."""
    fixed = fixed_training(run)

    def compiled() -> Built:
        return compiled_training(run, fixed)

    kept = run.kept or Kept()
    return kept.renewed("training", run.case, run.stack, models_of(fixed), compiled)


def compiled_training(run: Run, fixed: Fixed) -> Built:
    """Make the passes and the update of the case's model."""
    stack, model, branch = run.stack, fixed.model, fixed.branch
    return Built(
        fixed,
        stack.network(model),
        None if branch is model else stack.network(branch),
        stack.network(model),
        stack.train_step(model, phases=fixed.phases, epsilon=run.case.epsilon, branch=branch),
    )


def models_of(fixed: Fixed) -> tuple[Model, ...]:
    """List the models that are trained: one, or two that share weights."""
    return (fixed.model,) if fixed.branch is fixed.model else (fixed.model, fixed.branch)


def first_step(run: Run, built: Built) -> dict[str, float]:
    """Examine a first step, and undo it: the phases it really runs in, its updates of statistics.

    ``phases_agree`` is 1 where these phases are the fix's.
    """
    fixed, network, step = built.fixed, built.network, built.step
    images, labels = probe(run.train, fixed.batch_size)
    adversarial = fixed.phases.adversarial if fixed.phases else INFERENCE
    with state_kept(fixed.branch):
        observed = observed_phases(
            run.stack, network, step, images, labels,
            epsilon=run.case.epsilon,
            kinds=tuple(dict.fromkeys((TRAINING, INFERENCE, adversarial))),
            branch_network=built.branch,
        )  # fmt: skip
        updates = updates_per_step(
            run.stack, network.model, step, images, labels, network=built.moments
        )
    if fixed.phases is None:
        agree = any(phases.clean == TRAINING for phases in observed)
    else:
        agree = observable(fixed.phases) in observed
    return {"phases_agree": float(agree), **updates}


def normalisation(run: Run, built: Built) -> list[LayerStatistics]:
    """Measure how far each BatchNorm's moving statistics are from those of training images."""
    model = built.fixed.model
    if not any(batch_norms(model)):  # a pass would draw dropout that the training goes on from
        return []
    images, _ = probe(run.train, PROBE_IMAGES)
    return layer_statistics(run.stack, model, images, network=built.moments)


def at_step(layers: Iterable[LayerStatistics], step: int) -> list[dict[str, Any]]:
    """Write a row of each layer, as it is after so many steps."""
    return [{**layer._asdict(), "step": step} for layer in layers]


def train_epochs(run: Run, built: Built) -> Progress:
    """Train to the end, from the last checkpoint if there is one; return all that was done.

    BatchNorm is observed at the start and at `OBSERVED` points between it and the end.
    """
    case, size, epochs, begun_s = run.case, built.fixed.batch_size, built.fixed.epochs, clock_s()
    checkpoint = run.checkpoint if epochs > 1 else None
    state = State(run.stack, built.models, built.step)
    progress = checkpoint.resume(state) if checkpoint else None
    progress = progress or Progress([], [], at_step(normalisation(run, built), 0))
    done = progress.done
    whole = batches(run.train, batch_size=size, epochs=epochs, seed=run.seed)
    source = itertools.islice(whole, len(done), None)
    per_epoch = len(run.train.labels) // size
    title, steps = f"{case} seed {run.seed}", epochs * per_epoch
    between = [steps * point // (OBSERVED + 1) for point in range(1, OBSERVED + 1)]
    training = train(
        built.step, source, steps=steps, base_rate=case.learning_rate, title=title, made=len(done)
    )
    for made in training:
        done.append(made)
        if len(done) in between:
            progress.rows.extend(at_step(normalisation(run, built), len(done)))
        if len(done) % per_epoch == 0:
            progress.epochs.append(evaluate_both(built.network, run.test, epsilon=case.epsilon))
            if checkpoint:
                spent_s = progress.spent_s + clock_s() - begun_s
                checkpoint.save(progress._replace(spent_s=spent_s), state)
    return progress


def evaluate_both(network: Network, test: Split, *, epsilon: float) -> dict[str, float]:
    """Evaluate in both phases; metrics of the training phase have that as their prefix."""
    inference = evaluate(network, test, epsilon=epsilon, training=False)
    training = evaluate(network, test, epsilon=epsilon, training=True)
    return {**inference, **{f"training_phase_{name}": value for name, value in training.items()}}


def step_curves(done: Sequence[TimedStep]) -> dict[str, list[float]]:
    """Make one curve over the steps for each field of their results, and for their duration."""
    results = [made.result._asdict() for made in done]
    names = [name for name, value in results[0].items() if value is not None]
    curves = {f"step_{name}": [result[name] for result in results] for name in names}
    return {**curves, "step_s": [made.step_s for made in done]}


def epoch_curves(epochs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Make one curve over the epochs for each evaluated metric."""
    return {name: [epoch[name] for epoch in epochs] for name in epochs[0]}


def tail_metrics(curves: Mapping[str, Sequence[float]], *, entropy: float) -> dict[str, float]:
    """Average over the last steps: training accuracy, and information gain of each branch."""

    def tail(name: str) -> float:
        values = curves[name]
        return float(np.mean(values[-max(1, len(values) // TAIL) :]))

    metrics = {
        "train_accuracy": tail("step_clean_accuracy"),
        "clean_branch_gain": entropy - tail("step_clean_ce"),
    }
    if "step_adversarial_ce" in curves:
        metrics["adversarial_branch_gain"] = entropy - tail("step_adversarial_ce")
    return metrics
