"""Expressions of GitHub Actions, as far as the workflow uses them (docs.github.com, "Evaluate expressions")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = re.compile(r"\s*(&&|\|\||==|!=|!|\(|\)|,|'(?:[^']|'')*'|[A-Za-z_][\w.-]*)")


def evaluate(text: str, context: Mapping[str, Any], *, status: str = "success") -> bool:
    """Whether a job with this ``if`` runs. A condition that asks for no status runs only after success.

    ``status`` is that of what came before: ``success``, ``failure`` or ``cancelled``.
    """
    inner = text.removeprefix("${{").removesuffix("}}").strip()
    tokens: list[str] = []
    at = 0
    while at < len(inner):
        match = _TOKEN.match(inner, at)
        assert match is not None, f"not an expression from here: {inner[at:]!r}"
        tokens.append(match[1])
        at = match.end()
    reader = _Reader(tokens, context, status)
    found = bool(reader.either())
    assert not reader.tokens, f"left over: {reader.tokens}"
    asks = re.search(r"\b(always|cancelled|failure|success)\(\)", inner)
    return found and (bool(asks) or status == "success")


@dataclass
class _Reader:
    tokens: list[str]
    context: Mapping[str, Any]
    status: str

    def either(self) -> Any:
        found = self.both()
        while self._next("||"):
            other = self.both()
            found = found or other
        return found

    def both(self) -> Any:
        found = self.equal()
        while self._next("&&"):
            other = self.equal()
            found = found and other
        return found

    def equal(self) -> Any:
        found = self.one()
        for operator in ("==", "!="):
            if self._next(operator):
                return (_loose(found) == _loose(self.one())) == (operator == "==")
        return found

    def one(self) -> Any:
        token = self.tokens.pop(0)
        if token == "!":
            return not self.one()
        if token == "(":
            found = self.either()
            assert self.tokens.pop(0) == ")"
            return found
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if self.tokens[:1] == ["("]:
            return self._call(token)
        value: Any = self.context
        for part in token.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def _call(self, name: str) -> Any:
        self.tokens.pop(0)
        arguments = []
        while self.tokens[0] != ")":
            arguments.append(self.either())
            self._next(",")
        self.tokens.pop(0)
        if name == "startsWith":
            text, prefix = (str(one or "").casefold() for one in arguments)
            return text.startswith(prefix)
        return {"always": True, "cancelled": self.status == "cancelled"}[name]

    def _next(self, token: str) -> bool:
        if self.tokens[:1] == [token]:
            self.tokens.pop(0)
            return True
        return False


def _loose(value: Any) -> Any:
    """Nothing is the empty string; strings don't mind their case."""
    return "" if value is None else value.casefold() if isinstance(value, str) else value
