"""GitHub's expressions, as far as this repository uses them; any other is an error, not a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>\d+)|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>&&|\|\||==|!=|[!().,\[\]*]))"
)
WORDS = {"true": True, "false": False, "null": None}
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


class ExpressionError(Exception):
    """An expression that GitHub would refuse, or that is not known here."""


def filled(text: str, contexts: Mapping[str, Any]) -> Any:
    """Fill in a text's expressions; a text that is one expression becomes its value."""
    whole = EXPRESSION.fullmatch(text.strip())
    if whole and text.strip().count("${{") == 1:
        return evaluate(whole[1], contexts)
    return EXPRESSION.sub(lambda found: written(evaluate(found[1], contexts)), text)


def written(value: Any) -> str:
    """Write a value as GitHub does in a text."""
    if isinstance(value, (dict, list)):
        raise ExpressionError(f"an object in a text: {value}")
    return {None: "", True: "true", False: "false"}.get(value, str(value))


def evaluate(text: str, contexts: Mapping[str, Any]) -> Any:
    """Evaluate one expression, without its braces."""
    reader = Reader(text, contexts)
    value = reader.either()
    if reader.tokens:
        raise ExpressionError(f"{text}: what is {reader.tokens[0]}?")
    return value


class Reader:
    """Reads an expression from left to right, and evaluates it."""

    def __init__(self, text: str, contexts: Mapping[str, Any]) -> None:
        self.text, self.contexts, self.tokens = text, contexts, list[str]()
        place = 0
        while text[place:].strip():
            found = TOKEN.match(text, place)
            if not found:
                raise ExpressionError(f"{text}: what is {text[place:]}?")
            self.tokens.append(found[found.lastgroup or 0])
            place = found.end()

    def taken(self, *signs: str) -> str:
        return self.tokens.pop(0) if self.tokens and self.tokens[0] in signs else ""

    def need(self, sign: str) -> None:
        if not self.taken(sign):
            raise ExpressionError(f"{self.text}: expected {sign}")

    def either(self) -> Any:
        value = self.both()
        while self.taken("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.compared()
        while self.taken("&&"):
            other = self.compared()
            value = value and other
        return value

    def compared(self) -> Any:
        value = self.negated()
        sign = self.taken("==", "!=")
        if sign:
            other = self.negated()
            alike = ("" if value is None else value) == ("" if other is None else other)
            return alike if sign == "==" else not alike
        return value

    def negated(self) -> Any:
        return not self.negated() if self.taken("!") else self.value()

    def value(self) -> Any:
        if self.taken("("):
            value = self.either()
            self.need(")")
            return self.followed(value, "()")
        if not self.tokens:
            raise ExpressionError(f"{self.text}: ends too early")
        token = self.tokens.pop(0)
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token.isdecimal():
            return int(token)
        if self.taken("("):
            return self.followed(self.called(token), token)
        if token in WORDS:
            return WORDS[token]
        if token not in self.contexts:
            raise ExpressionError(f"{self.text}: {token} is no context here")
        return self.followed(self.contexts[token], token)

    def called(self, name: str) -> Any:
        given = []
        while not self.taken(")"):
            given.append(self.either())
            if not self.taken(","):
                self.need(")")
                break
        functions: dict[str, Callable[..., Any]] = {
            "fromJSON": json.loads,
            "join": lambda values, between: between.join(map(written, values)),
            "cancelled": lambda: False,
        }
        if name not in functions:
            raise ExpressionError(f"{self.text}: {name} is no function here")
        return functions[name](*given)

    def followed(self, value: Any, path: str) -> Any:
        """Follow ``.name``, ``[index]`` and ``.*`` from a value on."""
        while True:
            if self.taken("."):
                name = self.tokens.pop(0)
                if name == "*":
                    return self.each(value, path)
                value, path = member(value, name, path), f"{path}.{name}"
            elif self.taken("["):
                index = self.either()
                self.need("]")
                value, path = value[index], f"{path}[{index}]"
            else:
                return value

    def each(self, values: Any, path: str) -> list[Any]:
        self.need(".")
        name = self.tokens.pop(0)
        return [member(value, name, path) for value in values]


def member(value: Any, name: str, path: str) -> Any:
    """Look up a member; only events, inputs and outputs may lack one, which is empty then."""
    if not isinstance(value, Mapping):
        if value is None:
            return None
        raise ExpressionError(f"{path} has no members, so no {name}")
    optional = path.startswith(("github.event", "inputs")) or path.endswith(".outputs")
    if name not in value and not optional:
        raise ExpressionError(f"{path} has no {name}")
    return value.get(name)
