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
    pinned_in_fit,
    pinned_in_predict,
    pinned_phase,
    set_learning_phase,
    step_default,
    symbolic_loss,
    train_step_override,
    variance_correction,
)
from suite.measure.questions.trap_defaults import (
    accuracy_of_own_loss,
    accuracy_of_several,
    adadelta_default,
    initializer_twice,
    lion_default,
    lstm_dropout,
    optimizer_defaults,
)
from suite.measure.questions.trap_saves import (
    keras_format,
    loaded_model,
    loaded_weights,
    normalization_h5,
    normalization_sequential,
    saved_folder,
    saved_h5,
    saved_keras,
    weights_checkpoint,
    weights_h5,
    weights_weights_h5,
)
from suite.measure.run import Measured, Run
from suite.networks.types import Keras
from suite.stacks.protocol import Stack

CALLS: Mapping[str, Callable[[Keras], Seen]] = MappingProxyType(
    {
        "lr_argument": lr_argument,
        "decay_argument": decay_argument,
        "legacy_optimizers": legacy_optimizers,
        "adadelta_default": adadelta_default,
        "optimizer_defaults": optimizer_defaults,
        "lion_default": lion_default,
        "frozen_layer": frozen_layer,
        "frozen_application": frozen_application,
        "application_epsilon": application_epsilon,
        "variance_correction": variance_correction,
        "call_default": call_default,
        "fit_default": fit_default,
        "step_default": step_default,
        "pinned_in_fit": pinned_in_fit,
        "pinned_in_predict": pinned_in_predict,
        "train_step_override": train_step_override,
        "loss_key": loss_key,
        "accuracy_key": accuracy_key,
        "accuracy_of_several": accuracy_of_several,
        "accuracy_of_own_loss": accuracy_of_own_loss,
        "initializer_twice": initializer_twice,
        "lstm_dropout": lstm_dropout,
        "set_learning_phase": set_learning_phase,
        "pinned_phase": pinned_phase,
        "learning_phase_scope": learning_phase_scope,
        "attack_module": attack_module,
        "get_session": get_session,
        "symbolic_loss": symbolic_loss,
        "normalization_h5": normalization_h5,
        "normalization_sequential": normalization_sequential,
        "saved_h5": saved_h5,
        "saved_keras": saved_keras,
        "saved_folder": saved_folder,
        "weights_h5": weights_h5,
        "weights_weights_h5": weights_weights_h5,
        "weights_checkpoint": weights_checkpoint,
        "keras_format": keras_format,
        "early_h5": loaded_model("keras2-early.h5"),
        "early_weights": loaded_weights("keras2-early.h5"),
        "keras2_h5": loaded_model("keras2.h5"),
        "keras2_keras": loaded_model("keras2.keras"),
        "keras2_weights": loaded_weights("keras2.weights.h5"),
        "keras3_h5": loaded_model("keras3.h5"),
        "keras3_keras": loaded_model("keras3.keras"),
        "keras3_weights": loaded_weights("keras3.weights.h5"),
    }
)
"""The calls by the name of their trap: of optimizers, of BatchNorm, of fit, of layers, of the
published code, of saving, and of files of another Keras.

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
