"""What is the case's fix worth, and what does a step of it cost?"""

from __future__ import annotations

import itertools
import statistics

from suite.measure.evaluation import evaluate, pgd_accuracy
from suite.measure.questions.stall import trained
from suite.measure.run import Measured, Run, recompute
from suite.measure.training import WARMUP_STEPS, batches, timed
from suite.measure.weights import build
from suite.networks.batch_norm import batch_norms, state_kept
from suite.networks.fixes import Fixed
from suite.stacks.protocol import Network, TrainStep

TIMED_PAIRS = 12  # each of a step of the fix and one of the control


def measure_fix(run: Run) -> Measured:
    """Train under the case's fix; measure also robustness, recomputed statistics and cost."""
    fixed, network, step, measured = trained(run)
    metrics = {
        **measured.metrics,
        **robustness(run, network),
        **after_precise_bn(run, network),
        "cost_ratio": cost_ratio(run, fixed, step),
    }
    return measured._replace(metrics=metrics)


def robustness(run: Run, network: Network) -> dict[str, float]:
    """Measure the accuracy under projected gradient descent in both phases."""
    epsilon = run.case.epsilon
    return {
        "pgd_accuracy": pgd_accuracy(network, run.test, epsilon=epsilon, training=False),
        "training_phase_pgd_accuracy": pgd_accuracy(
            network, run.test, epsilon=epsilon, training=True
        ),
    }


def after_precise_bn(run: Run, network: Network) -> dict[str, float]:
    """Evaluate with recomputed moving statistics, then put back the old; {} without BatchNorm."""
    if not any(batch_norms(network.model)):
        return {}
    with state_kept(network.model):
        recompute(run, network.model)
        found = evaluate(network, run.test, epsilon=run.case.epsilon, training=False)
    return {f"precise_bn_{name}": value for name, value in found.items()}


def cost_ratio(run: Run, fixed: Fixed, step: TrainStep) -> float:
    """Divide the fix's median step time by the control's; their steps alternate in this process.

    Each has its own batch size. The model is trained further, so this must be measured last.
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
