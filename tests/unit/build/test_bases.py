"""External bases: pulled, remembered, or a root file system that stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from tests.unit.build.conftest import AMD64, ARM64, push_image

from shipgraph.build.archive import ArchiveState, Source
from shipgraph.build.bases import base_image, base_origin, refuse_unpinned, resolve_base, substitute_recipe
from shipgraph.build.rootfs import RootMaker, root_key
from shipgraph.errors import BaseGone, ConfigurationError, NotFound, RegistryUnavailable, UnpinnedBase
from shipgraph.events import Event, Note, silent
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import build_index
from shipgraph.oci.reference import Reference
from shipgraph.project.bases import RootRecipe, parse_base
from shipgraph.records.sets import ResolvedBase
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.oci.platform import Platform

pytestmark = pytest.mark.anyio
DEBIAN = parse_base("debian:bookworm-slim")
RECIPE = parse_base("mmdebstrap:bookworm?variant=minbase")


class Roots:
    """Makes roots out of nothing; ``state`` is the archive's."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.state = "1"
        self.made: list[str] = []

    def repository(self, recipe: RootRecipe) -> str:
        return f"roots/{recipe.suite}"

    async def look(self, recipe: RootRecipe) -> ArchiveState:
        return ArchiveState((Source(recipe.suite, "p", "m"),), (self.state,), 1)

    async def make(self, recipe: RootRecipe, platform: Platform, archive: ArchiveState) -> ImageManifest:
        self.made.append(str(platform))
        content = f"{recipe.suite} {archive.hashes}".encode()
        return await push_image(self.store, self.repository(recipe), [content], platform=platform)

    async def has(self, recipe: RootRecipe, digest: Any) -> bool:
        return await self.store.has_manifest(self.repository(recipe), digest)


def maker(roots: Roots) -> RootMaker:
    return cast("RootMaker", roots)


class Down(MemoryStore):
    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        raise RegistryUnavailable("no network")


class Slow(MemoryStore):
    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        await anyio.sleep(60)
        return None


async def hub(*, both: bool = True) -> MemoryStore:
    store = MemoryStore()
    entries = []
    for platform in (AMD64, ARM64) if both else (AMD64,):
        image = await push_image(store, "library/debian", [b"debian"], platform=platform)
        entries.append(Descriptor(image.media_type, image.digest, image.size, platform=platform))
    await store.tag("library/debian", "bookworm-slim", build_index(entries))
    return store


async def test_a_tag_is_resolved_to_the_platforms_digests() -> None:
    store = await hub()
    resolved = await resolve_base(DEBIAN, [AMD64, ARM64], reader=store, roots=None, emit=silent)
    assert resolved is not None
    there = await store.resolve("library/debian", "bookworm-slim")
    assert there is not None
    assert (resolved.key, resolved.digest, resolved.recipe) == (str(there.digest), str(there.digest), "")
    base = base_image(DEBIAN, resolved, ARM64)
    assert base is not None
    assert base.reference == f"shipgraph.invalid/docker.io/library/debian@{resolved.platforms['linux/arm64']}"
    assert base.repository == "bases/docker.io--library--debian"
    origin = await base_origin(DEBIAN, resolved, ARM64, reader=store, roots=None)
    assert origin is not None
    assert origin.repository == "library/debian"
    pinned = parse_base(f"debian:bookworm-slim@{there.digest}")
    again = await resolve_base(pinned, [AMD64], reader=store, roots=None, emit=silent)
    assert again is not None
    assert again.platforms == {"linux/amd64": resolved.platforms["linux/amd64"]}
    refuse_unpinned(pinned, again)
    with pytest.raises(UnpinnedBase, match="not pinned"):
        refuse_unpinned(DEBIAN, resolved)


async def test_certain_answers_are_no_reason_for_a_substitute() -> None:
    with pytest.raises(NotFound):
        await resolve_base(DEBIAN, [AMD64], reader=MemoryStore(), roots=maker(Roots()), emit=silent)
    with pytest.raises(ConfigurationError, match="not there for linux/arm64"):
        await resolve_base(DEBIAN, [ARM64], reader=await hub(both=False), roots=maker(Roots()), emit=silent)


@pytest.mark.parametrize("reader", [None, Down(), Slow()])
async def test_a_root_stands_in_and_is_said(reader: MemoryStore | None) -> None:
    roots, events = Roots(), list[Event]()
    resolved = await resolve_base(
        DEBIAN, [AMD64, ARM64], reader=reader, roots=maker(roots), emit=events.append, timeout=0.05
    )
    assert resolved is not None
    assert resolved.recipe.startswith("mmdebstrap:bookworm")
    assert resolved.digest == ""
    assert roots.made == ["linux/amd64", "linux/arm64"]
    assert any(isinstance(event, Note) and "stands in" in event.text for event in events)
    base = base_image(DEBIAN, resolved, AMD64)
    assert base is not None
    assert base.name == "docker.io/library/debian"
    with pytest.raises(UnpinnedBase, match="stands in"):
        refuse_unpinned(parse_base("debian:bookworm-slim@sha256:" + "1" * 64), resolved)
    with pytest.raises(RegistryUnavailable, match="can't be pulled") as caught:
        await resolve_base(
            DEBIAN, [AMD64], reader=reader, roots=maker(roots), emit=silent, substitutes=False, timeout=0.05
        )
    assert "mmdebstrap:bookworm" in caught.value.hint


async def test_a_root_counts_until_its_maximum_age() -> None:
    roots = Roots()
    first = await resolve_base(RECIPE, [AMD64], reader=None, roots=maker(roots), emit=silent)
    assert first is not None
    refuse_unpinned(RECIPE, first)
    roots.state = "2"
    settings: dict[str, Any] = {"reader": None, "roots": maker(roots), "emit": silent, "previous": first}
    assert await resolve_base(RECIPE, [AMD64], **settings) == first
    assert roots.made == ["linux/amd64"]
    aged = await resolve_base(RECIPE, [AMD64], **settings, refresh=True)
    assert aged is not None
    assert aged.key != first.key
    wider = await resolve_base(RECIPE, [AMD64, ARM64], **settings)
    assert wider is not None
    assert set(wider.platforms) == {"linux/amd64", "linux/arm64"}


async def test_a_root_that_is_gone_is_made_again_or_said_to_be_gone() -> None:
    roots = Roots()
    resolved = await resolve_base(RECIPE, [AMD64], reader=None, roots=maker(roots), emit=silent)
    assert resolved is not None
    settings: dict[str, Any] = {"reader": None, "roots": maker(roots)}
    roots.store = MemoryStore()
    origin = await base_origin(RECIPE, resolved, AMD64, **settings)
    assert origin is not None
    assert roots.made == ["linux/amd64"] * 2
    roots.store, roots.state = MemoryStore(), "2"
    with pytest.raises(BaseGone, match="moved on"):
        await base_origin(RECIPE, resolved, AMD64, **settings)


async def test_what_was_pulled_last_time_counts_without_network() -> None:
    resolved = await resolve_base(DEBIAN, [AMD64], reader=await hub(), roots=None, emit=silent)
    events: list[Event] = []
    again = await resolve_base(
        DEBIAN, [AMD64], reader=Down(), roots=maker(Roots()), emit=events.append, previous=resolved
    )
    assert again == resolved
    assert any(isinstance(event, Note) and event.warning for event in events)
    other = ResolvedBase(name="another", key="k", platforms={"linux/amd64": "sha256:" + "1" * 64})
    root = await resolve_base(DEBIAN, [AMD64], reader=Down(), roots=maker(Roots()), emit=silent, previous=other)
    assert root is not None
    assert root.recipe


async def test_nothing_is_nothing() -> None:
    scratch = parse_base("scratch")
    assert await resolve_base(scratch, [AMD64], reader=None, roots=None, emit=silent) is None
    assert base_image(scratch, None, AMD64) is None
    refuse_unpinned(scratch, None)


@pytest.mark.parametrize(
    ("text", "suite"),
    [
        ("debian:bookworm-slim", "bookworm"),
        ("debian:12-slim", "bookworm"),
        ("docker.io/library/debian:trixie-20250520-slim", "trixie"),
        ("debian:13.1", "trixie"),
        ("debian:latest", None),
        ("debian:stable-slim", None),
        ("debian", None),
        ("ubuntu:24.04", None),
        ("ghcr.io/acme/debian:bookworm", None),
    ],
)
def test_which_bases_have_a_substitute(text: str, suite: str | None) -> None:
    recipe = substitute_recipe(Reference.parse(text, default_host="docker.io", default_tag="latest"))
    assert (recipe.suite if recipe else None) == suite


def test_the_key_is_recipe_and_archive() -> None:
    def key(recipe: str, *hashes: str) -> str:
        return root_key(cast("RootRecipe", parse_base(recipe)), ArchiveState((), hashes, 1))

    basis = key("mmdebstrap:bookworm", "1", "2")
    assert basis == key("mmdebstrap:bookworm?variant=minbase", "2", "1")
    others = {
        key("mmdebstrap:trixie", "1", "2"),
        key("mmdebstrap:bookworm?variant=apt", "1", "2"),
        key("mmdebstrap:bookworm?include=git", "1", "2"),
        key("mmdebstrap:bookworm", "1", "3"),
    }
    assert basis not in others
    assert len(others) == 4
