"""What an image may be built from outside the project: ``base`` in ``shipgraph.toml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from shipgraph.errors import ConfigurationError
from shipgraph.oci.reference import Reference

DOCKER_HUB: Final = "docker.io"
RECIPE_SCHEME: Final = "mmdebstrap:"
SCRATCH: Final = "scratch"
VARIANTS: Final = ("essential", "apt", "required", "minbase", "buildd", "important", "standard")
_SUITE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ExternalBase:
    """An image of somebody else: ``text`` as the file has it, ``reference`` with host, tag and digest spelled out."""

    text: str
    reference: Reference

    @property
    def pinned(self) -> bool:
        """Whether it names a digest."""
        return self.reference.digest is not None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class RootRecipe:
    """A root file system made from Debian's packages with mmdebstrap: ``mmdebstrap:SUITE?variant=…&include=…``."""

    text: str
    suite: str
    variant: str = "minbase"
    include: tuple[str, ...] = ()

    @property
    def pinned(self) -> bool:
        """True: the file itself names the recipe, and its key records the archive's InRelease file."""
        return True

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class EmptyBase:
    """Nothing: ``FROM scratch``; the build gets no BASE_IMAGE."""

    text: str = SCRATCH

    @property
    def pinned(self) -> bool:
        """True: nothing can't move."""
        return True

    def __str__(self) -> str:
        return self.text


Base = ExternalBase | RootRecipe | EmptyBase


def parse_base(text: str) -> Base:
    """Read the value of ``base``; a reference gets Docker Hub and ``latest`` where it names neither, as in Docker.

    Raises:
        ConfigurationError: it is neither a reference, a recipe nor ``scratch``.
    """
    if text == SCRATCH:
        return EmptyBase()
    if text.startswith(RECIPE_SCHEME):
        return _parse_recipe(text)
    return ExternalBase(text, Reference.parse(text, default_host=DOCKER_HUB, default_tag="latest"))


def _parse_recipe(text: str) -> RootRecipe:
    suite, question, query = text.removeprefix(RECIPE_SCHEME).partition("?")
    if not _SUITE.fullmatch(suite):
        raise ConfigurationError(f"{suite[:100]!r} is not a Debian suite", allowed="a name like bookworm")
    given: dict[str, str] = {}
    for part in query.split("&") if question else ():
        name, equals, value = part.partition("=")
        if name not in ("variant", "include") or not equals or name in given:
            raise ConfigurationError(
                f"{part[:100]!r} is not an option of a recipe", allowed="variant=… and include=…, once"
            )
        given[name] = value
    variant = given.get("variant", "minbase")
    if variant not in VARIANTS:
        raise ConfigurationError(f"{variant[:100]!r} is not a variant of mmdebstrap", allowed=", ".join(VARIANTS))
    packages = tuple(given["include"].split(",")) if "include" in given else ()
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise ConfigurationError(
                f"{package[:100]!r} is not a Debian package name", allowed="names, split by commas"
            )
    return RootRecipe(text, suite, variant, packages)
