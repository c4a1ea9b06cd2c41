"""The draft as ``shipgraph.toml``: what was found, and as comments why, and what is left to a person."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Final

from shipgraph.setup.init_draft import repository_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shipgraph.setup.init_draft import Draft, DraftImage

_WIDTH: Final = 110


def render(draft: Draft) -> str:
    """The file's text."""
    blocks = [_head(draft), _project(draft), *(_image(draft, image) for image in draft.images), _payload(draft)]
    blocks += [_CHANNELS, _EVIDENCE]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _head(draft: Draft) -> list[str]:
    count = f"{len(draft.images)} image{'' if len(draft.images) == 1 else 's'}"
    lines = _comment(
        f"Drafted by `shipgraph init`: {count}. Read it, mend it, then `shipgraph plan` shows what it means."
    )
    for note in draft.notes:
        lines += _comment(f"TODO {note}")
    return lines


def _project(draft: Draft) -> list[str]:
    lines = ["[project]", f"name = {_text(draft.name)}", f"platforms = {_texts(draft.platforms)}"]
    if draft.registry and draft.registry != "ghcr.io":
        lines.append(f"registry = {_text(draft.registry)}")
    if draft.namespace:
        lines.append(f"namespace = {_text(draft.namespace)}")
    if draft.default_branch and draft.default_branch != "main":
        lines.append(f"default-branch = {_text(draft.default_branch)}")
    lines.append('# licenses = "Apache-2.0"')
    return lines


def _image(draft: Draft, image: DraftImage) -> list[str]:
    lines = [f"[images.{image.key}]"]
    for note in image.notes:
        lines += _comment(f"TODO {note}")
    if image.repository and image.repository != repository_of(draft.name, image.key, ""):
        lines.append(f"repository = {_text(image.repository)}")
    lines.append(f"context = {_text(image.context)}")
    usual = "Dockerfile" if image.context == "." else f"{image.context}/Dockerfile"
    if image.dockerfile != usual:
        lines.append(f"dockerfile = {_text(image.dockerfile)}")
    if image.parent:
        lines.append(f"parent = {_text(image.parent)}" + (f"  # {_line(image.why)}" if image.why else ""))
    else:
        pinned = "@" in image.base or image.base == "scratch"
        lines.append(f"base = {_text(image.base)}" + ("" if pinned else "  # `shipgraph pin` adds its digest"))
    if image.platforms:
        lines.append(f"platforms = {_texts(image.platforms)}")
    if image.cache_scope and image.cache_scope != f"runtime-{image.key}":
        lines.append(f"cache-scope = {_text(image.cache_scope)}")
    if image.secrets:
        lines.append(f"secrets = {_texts(image.secrets)}  # their values are given where it is built")
    if not image.parent:
        lines.append('# max-age = "14d"  # built again after that, to get the base\'s updates')
    if image.args:
        pairs = ", ".join(f"{name} = {_text(value)}" for name, value in image.args.items())
        lines.append(f"args = {{ {pairs} }}")
    if image.needed:
        pairs = ", ".join(f"{name} = {_text('…')}" for name in image.needed)
        lines.append(f"# args = {{ {pairs} }}  # the Dockerfile has no default for these")
    lines += [f"# [[images.{image.key}.tests]]", '# run = ["--version"]']
    return lines


def _payload(draft: Draft) -> list[str]:
    if draft.payload:
        return ["[payload]", f"files = {_texts(draft.payload)}  # a guess: what is shipped beside the images"]
    return ["# [payload]", '# files = ["payload/**"]  # what is shipped beside the images, if anything']


_CHANNELS: Final = [
    "# Channels, by default: dev on a push to the default branch, nightly at 06:00 UTC, prod on a tag v*",
    "# (docs: [channels]).",
]
_EVIDENCE: Final = [
    "[evidence]",
    'require = ["gate", "provenance"]  # and "test", once every image has one',
]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(_line(text), _WIDTH, subsequent_indent="  ", break_long_words=False)]


def _line(text: str) -> str:
    """Text for a comment: TOML allows no control characters there."""
    return "".join(char if char.isprintable() else " " for char in text)


def _text(text: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's, but for what it leaves bare (delete)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _texts(texts: Sequence[str] | Iterable[str]) -> str:
    return "[" + ", ".join(_text(text) for text in texts) + "]"
