"""A planted fault, and how one is planted from outside: wrap what a library or the suite calls."""

from __future__ import annotations

import contextlib
from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Plant = Callable[[], AbstractContextManager[Any]]
    Change = Callable[[Any], Any]


class Fault(NamedTuple):
    """One fault that somebody could make in a library or in the suite.

    Attributes:
        name: Its name.
        group: What it is a fault of, such as "optimizer".
        what: What it stands for, if possible with the address of a real one.
        plant: Makes a context in which it is planted, and after which it is undone.
        named: A pattern that a finding has to match to name the cause rightly.
        missed: Why nothing finds it, where that is known.
        first: The beginning of the name of what is measured first; empty for that of its group.
    """

    name: str
    group: str
    what: str
    plant: Plant
    named: str = ""
    missed: str = ""
    first: str = ""


class Tampering(NamedTuple):
    """One fault of bookkeeping: what lies in the folders of records is not what was measured.

    Attributes:
        name: Its name.
        group: "bookkeeping".
        what: What it stands for.
        tamper: Changes the files of a candidate's or a baseline's records, below one folder.
        named: A pattern that what the gate says has to match.
    """

    name: str
    group: str
    what: str
    tamper: Callable[[Path], None]
    named: str


def tensorflow() -> Any:
    """Import TensorFlow only when a fault is planted: the table is read without it."""
    return import_module("tensorflow")


def wrapped(place: str, change: Change) -> Plant:
    """Make a fault that replaces an attribute by what `change` makes of it.

    Args:
        place: Where it is, such as ``"keras.src.optimizers.sgd:SGD.update_step"``.
        change: Makes the replacement of what is there.
    """
    owner, _, name = place.replace(":", ":.", 1).rpartition(".")

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        there = resolve_name(owner.replace(":.", ":"))
        with mock.patch.object(there, name, change(getattr(there, name))):
            yield

    return planted


def together(*plants: Plant) -> Plant:
    """Make a fault of several changes."""

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for plant in plants:
                stack.enter_context(plant())
            yield

    return planted


def constant(place: str, value: Any) -> Plant:
    """Make a fault that gives an attribute another value."""
    return wrapped(place, lambda _: value)


def with_options(place: str, **options: Any) -> Plant:
    """Make a fault that calls a function, or makes an object, with other options than asked for."""

    def change(real: Any) -> Any:
        def call(first: Any, *given: Any, **named: Any) -> Any:  # Keras asks for the name of self
            return real(first, *given, **{**named, **options})

        return call

    return wrapped(place, change)


def scaled(real: Callable[..., Any], factor: float) -> Callable[..., Any]:
    """Multiply what a function returns."""
    return lambda *given, **named: factor * real(*given, **named)
