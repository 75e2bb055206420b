"""The flow on one page: a case and a seed become a record."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite import diagnosis, machine
from suite.attack import attack_metrics
from suite.cases import PLAIN, Case
from suite.data import Dataset, Split, label_entropy, stratified_subset, without_leaked
from suite.fixes import Fixed, apply, batch_norms
from suite.phases import INFERENCE, TRAINING
from suite.records import SCHEMA_VERSION, Record, record_key
from suite.stacks import Images, Labels, Network, Stack, TrainStep
from suite.trace import plant, trace_steps, traced_metrics
from suite.training import (
    TimedStep,
    batches,
    clock_s,
    evaluate,
    pgd_accuracy,
    pixels,
    timed,
    train,
)
from suite.traps import OUTCOMES, TRAPS, news, observe
from suite.types import Model
from suite.weights import build, initial_model

if TYPE_CHECKING:
    from typing import TypeAlias

TAIL = 4  # end-of-training means are taken over the last 1/4 of the steps
PROBE_IMAGES = 256  # whose batch statistics the moving ones are compared with
WARMUP_STEPS = 2  # dropped from every timing: they compile and allocate
TIMED_PAIRS = 12  # of a fix's step and the control's, in turns
PRECISE_IMAGES = 1024  # the statistics are recomputed on; fvcore takes 200 batches, of 32 here

Pedantic: TypeAlias = "Callable[..., Any]"
"""The signature of pytest-benchmark's `benchmark.pedantic`."""


class Run(NamedTuple):
    """What a case runs with.

    Attributes:
        case: The row.
        seed: Of the subsets, the weights and the order of the batches.
        stack: The framework under measurement.
        train: The images it trains on.
        test: The images it is judged on.
        environment: Versions, digests and machine.
    """

    case: Case
    seed: int
    stack: Stack
    train: Split
    test: Split
    environment: Mapping[str, Any]


class Measured(NamedTuple):
    """What a run found out; the fields are those of `Record`."""

    metrics: dict[str, float]
    curves: dict[str, list[float]]
    statistics: list[dict[str, Any]]
    timing: dict[str, Any]


def run_case(
    case: Case,
    *,
    seed: int,
    release: str,
    tier: str,
    stack: Stack,
    dataset: Dataset,
    environment: Mapping[str, Any],
    pedantic: Pedantic | None = None,
) -> Record:
    """Return the record of one case and seed.

    Args:
        case: The row to run.
        seed: Of the subsets, the weights and the order of the batches.
        release: Name of the release that is installed.
        tier: Name of the tier the case belongs to.
        stack: The framework under measurement.
        dataset: What ``case.data`` names.
        environment: Versions, digests and machine; with the case, they make the record's key.
        pedantic: pytest-benchmark's; a step-time case needs it.

    Raises:
        SuiteError: If the case's weights cannot be had.
    """
    started_at, start_s = datetime.now(timezone.utc).isoformat(), clock_s()
    run = Run(case, seed, stack, *subsets(case, dataset, seed=seed), environment)
    if pedantic is not None:
        measured = time_steps(run, pedantic)
    else:
        ask = {
            "training": train_and_evaluate,
            "fixes": measure_fix,
            "attack": attack,
            "parity": parity,
            "traps": traps,
        }
        measured = ask[case.question](run)
    return Record(
        schema=SCHEMA_VERSION,
        release=release,
        tier=tier,
        question=case.question,
        case=str(case),
        seed=seed,
        key=record_key(case.settings(), environment),
        settings=case.settings(),
        environment=environment,
        started_at=started_at,
        wall_s=clock_s() - start_s,
        **measured._asdict(),
    )


def subsets(case: Case, dataset: Dataset, *, seed: int) -> tuple[Split, Split]:
    """Return the training and test images of `case`, without the test images that leaked."""
    test = without_leaked(dataset.test)
    return (
        stratified_subset(dataset.train, case.train_images or len(dataset.train.labels), seed=seed),
        stratified_subset(test, case.test_images or len(test.labels), seed=seed),
    )


def fixed_training(run: Run) -> Fixed:
    """Return the model the run starts from, initial weights, then the fix, and how it trains."""
    model = initial_model(run.stack, run.case, seed=run.seed, environment=run.environment)
    return apply(
        run.case.fix,
        run.stack.keras,
        model,
        phases=run.case.phases,
        batch_size=run.case.batch_size,
        epochs=run.case.epochs,
        recompute=lambda fixed: recompute(run, fixed),
    )


def recompute(run: Run, model: Model) -> None:
    """Replace the moving statistics of `model` by those of the training images."""
    images, _ = probe(run.train, PRECISE_IMAGES)
    diagnosis.recompute_statistics(run.stack, model, images, batch_size=run.case.batch_size)


def probe(split: Split, count: int) -> tuple[Images, Labels]:
    """Return the first `count` images of `split`, which is in random order, and their labels."""
    return pixels(split.images[:count]), split.labels[:count].astype(np.int64)


class Trained(NamedTuple):
    """A training that has ended, and what goes on from there."""

    fixed: Fixed
    network: Network
    step: TrainStep
    measured: Measured


def train_and_evaluate(run: Run) -> Measured:
    """Return what training the case's model did, step by step and epoch by epoch."""
    return trained(run).measured


def trained(run: Run) -> Trained:
    """Train the case's model and return it with what training did."""
    fixed = fixed_training(run)
    model, network = fixed.model, run.stack.network(fixed.model)
    step = run.stack.train_step(
        model, phases=fixed.phases, epsilon=run.case.epsilon, branch=fixed.branch
    )
    before = diagnosis.moving_moments(model)
    first = first_step(run, fixed, network, step)
    done, epochs = train_epochs(run, fixed, network, step)
    layers = diagnosis.statistics(run.stack, model, probe(run.train, PROBE_IMAGES)[0])
    curves = {**step_curves(done), **epoch_curves(epochs)}
    metrics = {
        **{name: values[-1] for name, values in epoch_curves(epochs).items()},
        **tail_metrics(curves, entropy=label_entropy(run.train.labels)),
        "parameters": float(model.count_params()),
        **first,
        "statistics_moved": diagnosis.statistics_moved(before, diagnosis.moving_moments(model)),
        **diagnosis.summary(layers),
    }
    rows = [layer._asdict() for layer in layers]
    measured = Measured(metrics, curves, rows, step_timing(done, fixed.batch_size))
    return Trained(fixed, network, step, measured)


def measure_fix(run: Run) -> Measured:
    """Return what training under the case's fix did, and what the fix is worth and costs."""
    fixed, network, step, measured = trained(run)
    metrics = {
        **measured.metrics,
        **robustness(run, network),
        **after_precise_bn(run, network),
        "cost_ratio": cost_ratio(run, fixed, step),
    }
    return measured._replace(metrics=metrics)


def robustness(run: Run, network: Network) -> dict[str, float]:
    """Return the accuracy under projected gradient descent in both phases."""
    epsilon = run.case.epsilon
    return {
        "pgd_accuracy": pgd_accuracy(network, run.test, epsilon=epsilon, training=False),
        "training_phase_pgd_accuracy": pgd_accuracy(
            network, run.test, epsilon=epsilon, training=True
        ),
    }


def after_precise_bn(run: Run, network: Network) -> dict[str, float]:
    """Return the evaluation with recomputed statistics, which are put back; {} without any."""
    if not any(batch_norms(network.model)):
        return {}
    with diagnosis.state_kept(network.model):
        recompute(run, network.model)
        found = evaluate(network, run.test, epsilon=run.case.epsilon, training=False)
    return {f"precise_bn_{name}": value for name, value in found.items()}


def cost_ratio(run: Run, fixed: Fixed, step: TrainStep) -> float:
    """Return the median step of the fix over the control's, made in turns in this process.

    It trains on: nothing can be measured of the model after this. Each takes its own batch size.
    """
    case, control = run.case, build(run.stack, run.case)
    unfixed = run.stack.train_step(control, phases=case.phases, epsilon=case.epsilon)
    sources = (
        batches(run.train, batch_size=size, epochs=TIMED_PAIRS, seed=run.seed)
        for size in (case.batch_size, fixed.batch_size)
    )
    pairs = [
        (
            timed(unfixed, mine, base_rate=case.learning_rate).step_s,
            timed(step, fixes, base_rate=case.learning_rate).step_s,
        )
        for mine, fixes in itertools.islice(zip(*sources), WARMUP_STEPS + TIMED_PAIRS)
    ]
    control_s, fixed_s = (statistics.median(times) for times in zip(*pairs[WARMUP_STEPS:]))
    return float(fixed_s / control_s)


def first_step(run: Run, fixed: Fixed, network: Network, step: TrainStep) -> dict[str, float]:
    """Return what a first step does that its losses do not tell, and undo it.

    ``phases_agree`` tells whether it really runs in the phases that it was told.
    """
    images, labels = probe(run.train, fixed.batch_size)
    adversarial = fixed.phases.adversarial if fixed.phases else INFERENCE
    with diagnosis.state_kept(fixed.branch):
        observed = diagnosis.observed_phases(
            run.stack, network, step, images, labels,
            epsilon=run.case.epsilon,
            kinds=tuple(dict.fromkeys((TRAINING, INFERENCE, adversarial))),
            branch_network=None if fixed.branch is fixed.model else run.stack.network(fixed.branch),
        )  # fmt: skip
        updates = diagnosis.updates_per_step(run.stack, network.model, step, images, labels)
    if fixed.phases is None:
        agree = any(phases.clean == TRAINING for phases in observed)
    else:
        agree = diagnosis.observable(fixed.phases) in observed
    return {"phases_agree": float(agree), **updates}


def train_epochs(
    run: Run, fixed: Fixed, network: Network, step: TrainStep
) -> tuple[list[TimedStep], list[dict[str, float]]]:
    """Train to the end and return every step and, for every epoch, its evaluation."""
    case = run.case
    done: list[TimedStep] = []
    epochs: list[dict[str, float]] = []
    size = fixed.batch_size
    source = batches(run.train, batch_size=size, epochs=fixed.epochs, seed=run.seed)
    per_epoch = len(run.train.labels) // size
    title, steps = f"{case} seed {run.seed}", fixed.epochs * per_epoch
    for made in train(step, source, steps=steps, base_rate=case.learning_rate, title=title):
        done.append(made)
        if len(done) % per_epoch == 0:
            epochs.append(evaluate_both(network, run.test, epsilon=case.epsilon))
    return done, epochs


def evaluate_both(network: Network, test: Split, *, epsilon: float) -> dict[str, float]:
    """Return the evaluation in the inference phase, and in the training phase with that prefix."""
    inference = evaluate(network, test, epsilon=epsilon, training=False)
    training = evaluate(network, test, epsilon=epsilon, training=True)
    return {**inference, **{f"training_phase_{name}": value for name, value in training.items()}}


def step_curves(done: Sequence[TimedStep]) -> dict[str, list[float]]:
    """Return one curve a step for each field of the results, and for the step's duration."""
    results = [made.result._asdict() for made in done]
    names = [name for name, value in results[0].items() if value is not None]
    curves = {f"step_{name}": [result[name] for result in results] for name in names}
    return {**curves, "step_s": [made.step_s for made in done]}


def epoch_curves(epochs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return one curve an epoch for each evaluated metric."""
    return {name: [epoch[name] for epoch in epochs] for name in epochs[0]}


def tail_metrics(curves: Mapping[str, Sequence[float]], *, entropy: float) -> dict[str, float]:
    """Return the means of the last steps: training accuracy, information gain of each branch."""

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


def step_timing(done: Sequence[TimedStep], batch_size: int) -> dict[str, Any]:
    """Return the median step after the warm-up, in seconds, and the images a second it makes."""
    median_s = statistics.median(made.step_s for made in done[WARMUP_STEPS:] or done)
    return {
        "step_s": median_s,
        "images_per_s": batch_size / median_s,
    }


def attack(run: Run) -> Measured:
    """Return what CleverHans' attack does to the case's untrained model."""
    model = fixed_training(run).model
    images, labels = probe(run.test, len(run.test.labels))
    metrics = attack_metrics(run.stack, model, images, labels, epsilon=run.case.epsilon)
    return Measured({**metrics, "parameters": float(model.count_params())}, {}, [], {})


def parity(run: Run) -> Measured:
    """Return the trace of the first steps, from weights that are the same in every release."""
    case, stack = run.case, run.stack
    stack.seed(run.seed)
    model = build(stack, case)
    plant(model, seed=run.seed)
    source = batches(run.train, batch_size=case.batch_size, epochs=case.epochs, seed=run.seed)
    traced = trace_steps(
        stack, model, source,
        phases=case.phases, epsilon=case.epsilon, base_rate=case.learning_rate,
    )  # fmt: skip
    parameters = float(model.count_params())
    return Measured({**traced_metrics(traced), "parameters": parameters}, {}, traced, {})


def traps(run: Run) -> Measured:
    """Return what the release does in each of `TRAPS`, as numbers and in words."""
    seen = {trap.name: observe(run.stack, trap) for trap in TRAPS}
    metrics = {name: float(OUTCOMES.index(outcome)) for name, (outcome, _) in seen.items()}
    changed = [news(trap, *seen[trap.name], run.environment["versions"]) for trap in TRAPS]
    metrics["unexpected"] = float(sum(map(bool, changed)))
    words = [{"trap": name, **made._asdict()} for name, made in seen.items()]
    return Measured(metrics, {}, words, {})


def time_steps(run: Run, pedantic: Pedantic) -> Measured:
    """Return the times of plain and adversarial steps, taken in turns in one process.

    Args:
        run: Its training images give as many timed pairs of steps as they fill batches, less
            the warm-up.
        pedantic: Times the adversarial step; the plain one is its set-up.
    """
    case, model = run.case, fixed_training(run).model
    steps = {
        loss: run.stack.train_step(model, phases=phases, epsilon=case.epsilon)
        for loss, phases in ((PLAIN, None), ("adversarial", case.phases))
    }
    made: dict[str, list[TimedStep]] = {loss: [] for loss in steps}
    source = batches(run.train, batch_size=case.batch_size, epochs=1, seed=run.seed)

    def plain_first() -> tuple[tuple[Any, ...], dict[str, Any]]:
        batch = next(source)
        made[PLAIN].append(timed(steps[PLAIN], batch, base_rate=case.learning_rate))
        return (batch,), {}

    def adversarial(batch: Any) -> None:
        made["adversarial"].append(timed(steps["adversarial"], batch, base_rate=case.learning_rate))

    memory = memory_meter(run.stack)
    rounds = len(run.train.labels) // case.batch_size - WARMUP_STEPS
    pedantic(
        adversarial, setup=plain_first, rounds=rounds, iterations=1, warmup_rounds=WARMUP_STEPS
    )
    measured = timed_pairs(run, model, made)
    measured.metrics.update(memory())
    return measured


def memory_meter(stack: Stack) -> Callable[[], dict[str, float]]:
    """Return a function that tells the peak memory taken since now, in bytes.

    It is the device's where there is one, else the growth of this process; nothing where the
    system does not let a process measure it anew.
    """
    stack.peak_device_bytes()
    measurable, resident = machine.reset_peak_memory(), machine.peak_memory_bytes()

    def taken() -> dict[str, float]:
        device_bytes = stack.peak_device_bytes()
        if device_bytes is None and not measurable:
            return {}
        grown = machine.peak_memory_bytes() - resident  # pages may be given back meanwhile
        return {"peak_memory_bytes": float(max(0, grown) if device_bytes is None else device_bytes)}

    return taken


def timed_pairs(run: Run, model: Model, made: Mapping[str, Sequence[TimedStep]]) -> Measured:
    """Return the metrics of the timed steps; the ratio is that of the medians."""
    named = {
        f"{loss}_{key}": value
        for loss, done in made.items()
        for key, value in step_timing(done, run.case.batch_size).items()
    }
    compiling = {
        f"{loss}_compile_s": max(0.0, done[0].step_s - named[f"{loss}_step_s"])
        for loss, done in made.items()
    }
    metrics = {
        **named,
        **compiling,
        "adversarial_plain_ratio": named["adversarial_step_s"] / named["plain_step_s"],
        "parameters": float(model.count_params()),
        "last_loss": made["adversarial"][-1].result.loss,
    }
    curves = {
        f"{loss}_step_s": [step.step_s for step in done[WARMUP_STEPS:]]
        for loss, done in made.items()
    }
    return Measured(metrics, curves, [], {})
