"""Tests of suite.measure.questions.traps: what is seen of a call, and how it is recorded."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from suite.cases import Case
from suite.files import file_digest
from suite.judge.traps import TRAPS, Trap, news
from suite.measure.questions import trap_calls, trap_defaults, trap_saves
from suite.measure.questions.trap_calls import OUTCOMES, Seen
from suite.measure.questions.traps import CALLS, observe, traps
from suite.measure.run import Run
from suite.networks import fixes
from suite.stacks.protocol import Stack
from tests.measure.conftest import SMALL, coloured

if TYPE_CHECKING:
    from collections.abc import Callable

    from suite.records import Record

    MakeRecord = Callable[..., Record]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_this_release_behaves_as_stated(stack: Stack, make_record: MakeRecord, trap: Trap) -> None:
    seen = observe(stack, CALLS[trap.name])
    record = make_record(
        question="traps",
        statistics=[{"trap": trap.name, **seen._asdict()}],
        environment={"versions": stack.versions()},
    )
    assert seen.outcome in OUTCOMES
    assert not news(trap, record)


def test_a_record_holds_what_was_seen_and_no_judgement(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"first": lambda _: Seen("raises", "at once"), "second": lambda _: Seen("n - 1", "4/3")}
    monkeypatch.setitem(traps.__globals__, "CALLS", calls)
    data = coloured()
    case = Case("lenet5", question="traps", **SMALL)
    measured = traps(Run(case, 0, stack, data.train, data.test, {}))
    assert measured.metrics == {"first": 0.0, "second": float(OUTCOMES.index("n - 1"))}
    assert measured.statistics == [
        {"trap": "first", "outcome": "raises", "detail": "at once"},
        {"trap": "second", "outcome": "n - 1", "detail": "4/3"},
    ]


def test_outcomes_are_each_listed_once() -> None:
    assert len(set(OUTCOMES)) == len(OUTCOMES)


def sgd_that(stack: Stack, **renamed: float) -> Any:
    """Put an SGD into Keras that maps its arguments' names, or drops them, as `renamed` does."""
    keras = stack.keras

    def sgd(**arguments: float) -> Any:
        known = {renamed[name]: value for name, value in arguments.items() if renamed.get(name)}
        given = {name: value for name, value in arguments.items() if name not in renamed}
        return keras.optimizers.SGD(**known, **given)

    parts = {name: getattr(keras, name) for name in ("Input", "Model", "layers")}
    return SimpleNamespace(**parts, optimizers=SimpleNamespace(SGD=sgd))


def test_an_argument_that_acts_is_told_from_one_that_is_dropped(stack: Stack) -> None:
    acting, dropping = sgd_that(stack, lr="learning_rate"), sgd_that(stack, lr=None)
    assert trap_calls.lr_argument(acting) == Seen("honoured", "moved by 0.5")
    assert trap_calls.lr_argument(dropping) == Seen("ignored", "moved by 0.01")


def test_a_batch_norm_that_never_freezes_is_told(stack: Stack) -> None:
    keras = stack.keras

    class Unfreezable(keras.layers.BatchNormalization):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "trainable": True})

    layers = SimpleNamespace(BatchNormalization=Unfreezable, Dense=keras.layers.Dense)
    parts = {name: getattr(keras, name) for name in ("Input", "Model", "optimizers")}
    assert trap_calls.frozen_layer(SimpleNamespace(**parts, layers=layers)).outcome == "training"


def test_a_mean_square_of_neither_phase_is_another_outcome() -> None:
    assert trap_calls._phase(3.0) == ("other", "mean square 3")


def test_an_outcome_nobody_foresaw_is_kept_in_words(stack: Stack) -> None:
    assert observe(stack, lambda _: Seen("explodes", "at once")) == ("other", "explodes: at once")


def test_an_error_that_repeats_itself_below_a_traceback_is_told_by_its_line() -> None:
    error = TypeError("in user code:\n\n    File x\n\n    TypeError: a symbolic input\n")
    assert trap_calls.raised(error) == Seen("raises", "TypeError: a symbolic input")


def test_other_errors_of_a_loss_are_no_outcome(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise MemoryError("no space")

    monkeypatch.setattr(trap_calls, "_fit", fit)
    with pytest.raises(MemoryError):
        trap_calls.symbolic_loss(stack.keras)


def test_inputs_tell_the_phases_apart() -> None:
    own = (trap_calls.INPUTS - trap_calls.INPUTS.mean()) / trap_calls.INPUTS.std()
    moving = trap_calls.INPUTS - trap_calls.MOVING_MEAN
    assert np.mean(own**2) == trap_calls.MEAN_SQUARES["training"]
    assert np.mean(moving**2) == trap_calls.MEAN_SQUARES["inference"]


def parts_of(stack: Stack, **changed: Any) -> Any:
    """Make a Keras of which some parts are others: objects by the name of the part."""
    names = ("Input", "Model", "Sequential", "layers", "models", "optimizers", "initializers")
    parts = {name: getattr(stack.keras, name) for name in names}
    return SimpleNamespace(**{**parts, **changed})


def on(keras: Any, stack: Stack, call: Callable[[Any], Seen]) -> Seen:
    """Observe a call of another Keras than the stack's own, in a new session."""
    return observe(stack, lambda _: call(keras))


def layers_with(stack: Stack, **changed: Any) -> Any:
    """Make Keras' layers of which some are others."""
    names = ("Input", "Dense", "LSTM", "BatchNormalization", "Activation")
    return SimpleNamespace(**{**{n: getattr(stack.keras.layers, n) for n in names}, **changed})


def test_a_pinned_phase_that_holds_is_told_from_one_that_is_overridden(stack: Stack) -> None:
    keras = stack.keras

    class Frozen(keras.layers.BatchNormalization):
        def call(self, inputs: Any, **_: Any) -> Any:
            return super().call(inputs, training=False)

    class Training(keras.layers.BatchNormalization):
        def call(self, inputs: Any, **_: Any) -> Any:
            return super().call(inputs, training=True)

    inference = parts_of(stack, layers=layers_with(stack, BatchNormalization=Frozen))
    training = parts_of(stack, layers=layers_with(stack, BatchNormalization=Training))
    for call in (trap_calls.pinned_in_fit, trap_calls.pinned_in_predict):
        assert on(inference, stack, call).outcome == "inference"
        assert on(training, stack, call).outcome == "training"


@pytest.mark.parametrize("training", [False, True])
def test_a_fix_copies_a_pinned_call_with_what_it_means_in_this_release(
    stack: Stack, training: bool
) -> None:
    def outputs_and_loss(keras: Any, model: Any) -> list[float]:
        outputs = model.predict(trap_calls.INPUTS, verbose=0)
        return [float(np.mean(outputs**2)), trap_calls._train(keras, model)]

    def same(keras: Any) -> Seen:
        model = trap_calls._planted(keras, training=training)
        copy = fixes.apply("bn-momentum-0.5", keras, model).model
        assert copy is not model
        np.testing.assert_allclose(
            outputs_and_loss(keras, copy), outputs_and_loss(keras, model), rtol=1e-3
        )
        return Seen("honoured", "")

    assert observe(stack, same).outcome == "honoured"


def test_a_default_learning_rate_is_told_by_the_step(stack: Stack) -> None:
    def lion() -> Any:
        return stack.keras.optimizers.SGD(learning_rate=0.0001)

    keras = parts_of(stack, optimizers=SimpleNamespace(Lion=lion))
    assert on(keras, stack, trap_defaults.lion_default) == Seen("0.0001", "moved by 0.0001")
    none = parts_of(stack, optimizers=SimpleNamespace())
    assert on(none, stack, trap_defaults.lion_default).outcome == "absent"


def test_a_package_keras_without_adadelta_is_told_and_not_fallen_over(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = SimpleNamespace(optimizers=SimpleNamespace(), __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "keras", bare)
    seen = trap_defaults.adadelta_default(stack.keras)
    assert seen == Seen("absent", "the package keras has no optimizers.Adadelta")


def test_every_default_argument_that_changed_is_named() -> None:
    def made(arguments: dict[str, Any]) -> Any:
        return lambda: SimpleNamespace(get_config=lambda: {**arguments, "of_others": None})

    now = {name: dict(arguments) for name, arguments in trap_defaults.KERAS_2_3.items()}
    now["Adam"]["beta_2"] = 0.99
    keras = SimpleNamespace(optimizers=SimpleNamespace(**{n: made(a) for n, a in now.items()}))
    assert trap_defaults.optimizer_defaults(keras) == Seen("Adam", "Adam beta_2 0.999 -> 0.99")


@pytest.mark.parametrize("labels", [trap_defaults.SEVERAL, trap_defaults.CLASSES])
def test_each_meaning_of_accuracy_has_its_own_number(labels: np.ndarray) -> None:
    numbers = trap_defaults.meanings(labels)
    assert len({round(number, 3) for number in numbers.values()}) == len(numbers)


@pytest.mark.parametrize("meaning", ["binary", "categorical", "sparse"])
def test_the_metric_is_told_by_its_number(stack: Stack, meaning: str) -> None:
    keras = stack.keras
    metric = {"sparse": "sparse_categorical_accuracy"}.get(meaning, f"{meaning}_accuracy")

    def squares(_: Any, outputs: Any) -> Any:
        return outputs**2

    class Stated(keras.Model):
        def compile(self, *arguments: Any, **options: Any) -> None:
            super().compile(*arguments, **{**options, "metrics": [metric]})

    model = parts_of(stack, Model=Stated)
    labels = trap_defaults.CLASSES if meaning == "sparse" else trap_defaults.SEVERAL
    seen = on(model, stack, lambda keras: trap_defaults._accuracy(keras, labels, squares))
    assert seen.outcome == meaning


def test_an_initializer_that_draws_anew_is_told_from_one_that_repeats(stack: Stack) -> None:
    def drawing(*, repeats: bool) -> Any:
        random = np.random.RandomState(0)

        def draw(shape: Any, dtype: Any = None) -> Any:
            values = np.random.RandomState(0) if repeats else random
            return stack.keras.initializers.Constant(values.normal(size=tuple(shape)))(shape, dtype)

        return SimpleNamespace(RandomNormal=lambda: draw)

    for repeats, outcome in ((True, "same"), (False, "different")):
        keras = parts_of(stack, initializers=drawing(repeats=repeats))
        assert on(keras, stack, trap_defaults.initializer_twice).outcome == outcome


def test_dropout_before_an_lstm_drops_other_inputs_at_each_step(stack: Stack) -> None:
    layers = stack.keras.layers

    class Beforehand:
        def __init__(self, units: int, dropout: float, **options: Any) -> None:
            self.dropout, self.lstm = layers.Dropout(dropout), layers.LSTM(units, **options)
            self.set_weights = self.lstm.set_weights

        def __call__(self, inputs: Any) -> Any:
            return self.lstm(self.dropout(inputs))

    keras = parts_of(stack, layers=layers_with(stack, LSTM=Beforehand))
    assert on(keras, stack, trap_defaults.lstm_dropout).outcome == "different"


def test_an_lstm_that_drops_nothing_tells_nothing(stack: Stack) -> None:
    layers = stack.keras.layers

    def lstm(units: int, dropout: float, **options: Any) -> Any:
        del dropout
        return layers.LSTM(units, **options)

    keras = parts_of(stack, layers=layers_with(stack, LSTM=lstm))
    with pytest.raises(RuntimeError, match="Dropped none"):
        on(keras, stack, trap_defaults.lstm_dropout)


def losing(stack: Stack) -> Any:
    """Make a Keras that gives a network of other weights, whatever file it loads."""

    def load(path: str) -> Any:
        assert Path(path).is_file()
        model = trap_saves.network(stack.keras)
        model.set_weights([2 * value for value in model.get_weights()])
        return model

    return parts_of(stack, models=SimpleNamespace(load_model=load))


@pytest.mark.parametrize("call", [trap_saves.saved_h5, trap_saves.loaded_model("keras2.h5")])
def test_weights_that_are_loaded_otherwise_are_lost(stack: Stack, call: Any) -> None:
    assert on(losing(stack), stack, call).outcome == "lost"


def test_layers_of_one_kind_that_change_places_are_lost(stack: Stack) -> None:
    def load(path: str) -> Any:
        model = stack.keras.models.load_model(path)
        second, third = (model.get_layer(name) for name in ("second", "third"))
        weights = second.get_weights(), third.get_weights()
        third.set_weights(weights[0])
        second.set_weights(weights[1])
        return model

    keras = parts_of(stack, models=SimpleNamespace(load_model=load))
    assert on(keras, stack, trap_saves.saved_h5).outcome == "lost"


def test_weights_that_load_nothing_are_lost(stack: Stack) -> None:
    class Deaf(stack.keras.Model):
        def load_weights(self, path: str) -> None:
            del path

    keras = parts_of(stack, Model=Deaf)
    assert on(keras, stack, trap_saves.weights_weights_h5).outcome == "lost"
    loaded = trap_saves.loaded_weights("keras2-early.h5")
    assert on(keras, stack, loaded).outcome == "lost"


def test_a_refused_file_is_told_without_the_folder_that_it_lay_in(stack: Stack) -> None:
    def refuse(path: str) -> None:
        raise OSError(f"no model in {path}")

    keras = parts_of(stack, models=SimpleNamespace(load_model=refuse))
    assert on(keras, stack, trap_saves.saved_h5) == Seen("raises", "OSError: no model in model.h5")


def test_files_of_other_keras_are_those_whose_digest_the_code_states() -> None:
    assert file_digest(trap_saves.SAVED) == trap_saves.SAVED_DIGEST


def arrays(file: bytes) -> list[np.ndarray]:
    """Read all arrays of an HDF5 file but those of an optimizer."""
    found: list[np.ndarray] = []

    def keep(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(np.asarray(item))

    with h5py.File(io.BytesIO(file), "r") as opened:
        opened.visititems(keep)
    return found


def test_files_of_other_keras_hold_the_weights_of_the_network(stack: Stack, tmp_path: Path) -> None:
    wanted = sorted(str(value.tolist()) for value in trap_saves.network(stack.keras).get_weights())
    with zipfile.ZipFile(trap_saves.SAVED) as saved:
        names = saved.namelist()
        saved.extractall(tmp_path)
    assert len(names) == 7
    for name in names:
        content = (tmp_path / name).read_bytes()
        if name.endswith(".keras"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read("model.weights.h5")
        assert sorted(str(value.tolist()) for value in arrays(content)) == wanted, name
