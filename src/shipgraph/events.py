"""What happens, as values: stages emit them; terminal, log and JSON subscribe to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Started:
    """A piece of work begins. ``task`` identifies it in later events; ``total`` is in bytes where it is known."""

    task: str
    title: str
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Progressed:
    """``done`` of the task's ``total``, in bytes unless the task says otherwise."""

    task: str
    done: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a builder's or tool's output."""

    task: str
    line: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The task ended well; ``outcome`` is a word or two (built, reused, pushed …), ``seconds`` is wall time."""

    task: str
    title: str
    outcome: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The task ended with an error; ``log`` names the file that holds its output, if any."""

    task: str
    title: str
    reason: str
    log: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user should know, but that stops nothing."""

    text: str
    warning: bool = False


Event: TypeAlias = Started | Progressed | LogLine | Finished | Failed | Note
Emit: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """An ``Emit`` for callers that want no events."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """How many, for people: ``1 image``, ``2 images``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
