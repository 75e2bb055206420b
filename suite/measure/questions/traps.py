"""What do the calls that changed their meaning between releases do in this one?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

from suite.measure.questions.trap_calls import (
    OUTCOMES,
    Seen,
    accuracy_key,
    application_epsilon,
    attack_module,
    call_default,
    decay_argument,
    fit_default,
    frozen_application,
    frozen_layer,
    get_session,
    learning_phase_scope,
    legacy_optimizers,
    loss_key,
    lr_argument,
    pinned_phase,
    set_learning_phase,
    step_default,
    symbolic_loss,
    train_step_override,
    variance_correction,
)
from suite.measure.run import Measured, Run
from suite.networks.types import Keras
from suite.stacks.protocol import Stack

CALLS: Mapping[str, Callable[[Keras], Seen]] = MappingProxyType(
    {
        "lr_argument": lr_argument,
        "decay_argument": decay_argument,
        "legacy_optimizers": legacy_optimizers,
        "frozen_layer": frozen_layer,
        "frozen_application": frozen_application,
        "application_epsilon": application_epsilon,
        "variance_correction": variance_correction,
        "call_default": call_default,
        "fit_default": fit_default,
        "step_default": step_default,
        "train_step_override": train_step_override,
        "loss_key": loss_key,
        "accuracy_key": accuracy_key,
        "set_learning_phase": set_learning_phase,
        "pinned_phase": pinned_phase,
        "learning_phase_scope": learning_phase_scope,
        "attack_module": attack_module,
        "get_session": get_session,
        "symbolic_loss": symbolic_loss,
    }
)
"""The calls by the name of their trap: of optimizers, of BatchNorm, of fit, of the published code.

`suite.judge.traps` says what each is expected to do in each release.
"""


def traps(run: Run) -> Measured:
    """Observe what the release does in each of `CALLS`, in numbers and in words."""
    seen = {name: observe(run.stack, call) for name, call in CALLS.items()}
    metrics = {name: float(OUTCOMES.index(made.outcome)) for name, made in seen.items()}
    words = [{"trap": name, **made._asdict()} for name, made in seen.items()]
    return Measured(metrics, {}, words, {})


def observe(stack: Stack, call: Callable[[Keras], Seen]) -> Seen:
    """Observe one call in a new session of the framework.

    Keras warns of just what is observed here, so its warnings are not shown.
    """
    stack.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = call(stack.keras)
    if seen.outcome in OUTCOMES:
        return seen
    return Seen("other", f"{seen.outcome}: {seen.detail}")
