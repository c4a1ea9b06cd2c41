"""External bases, resolved once per release: pulled by digest, or a root file system that stands in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.build.builder import BaseImage
from shipgraph.build.finish import read_config
from shipgraph.build.rootfs import root_key
from shipgraph.build.stage import Origin
from shipgraph.errors import BaseGone, ConfigurationError, Denied, NotFound, RegistryUnavailable, UnpinnedBase
from shipgraph.events import Note
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.project.bases import DOCKER_HUB, EmptyBase, ExternalBase, RootRecipe
from shipgraph.records.sets import ResolvedBase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.build.rootfs import RootMaker
    from shipgraph.events import Emit
    from shipgraph.oci.platform import Platform
    from shipgraph.oci.reference import Reference
    from shipgraph.project.bases import Base
    from shipgraph.store.protocols import Reader

PULL_SECONDS: Final = 8.0
"""How long a registry may take to answer about a base before it counts as unreachable."""

_SUITES: Final = {"11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}
_TAG: Final = re.compile(r"(?:([a-z]+)|([0-9]+)(?:\.[0-9]+)?)(?:-[0-9]{8})?(?:-slim)?")


def substitute_recipe(reference: Reference) -> RootRecipe | None:
    """The recipe that stands in for a base that can't be pulled: Debian's own images have one, nothing else has."""
    if (reference.host, reference.repository) not in {(DOCKER_HUB, "library/debian"), (DOCKER_HUB, "debian")}:
        return None
    match = _TAG.fullmatch(reference.tag or "")
    if match is None:
        return None
    suite = match[1] or _SUITES.get(match[2] or "")
    if suite is None or suite in {"latest", "stable", "oldstable", "testing"}:
        return None  # these move: a substitute must name what it stands in for
    return RootRecipe(f"mmdebstrap:{suite}?variant=minbase", suite, "minbase")


async def resolve_base(
    base: Base,
    platforms: Sequence[Platform],
    *,
    reader: Reader | None,
    roots: RootMaker | None,
    emit: Emit,
    previous: ResolvedBase | None = None,
    refresh: bool = False,
    substitutes: bool = True,
    timeout: float = PULL_SECONDS,
) -> ResolvedBase | None:
    """What a base is for this release; None for an empty one.

    A root file system that was made before counts until its maximum age (``refresh``); a tag is looked up every time,
    and where that fails, what it was last time counts.

    Args:
        reader: the registry that the base's reference names; None where nobody may ask it.
        roots: makes root file systems; None where none may be made.
        previous: the last release's resolution of the same base.
        refresh: the image's maximum age has passed: look again at everything.
        substitutes: whether a root file system may stand in for an image that can't be pulled.

    Raises:
        RegistryUnavailable: the base can't be reached, and nothing may stand in for it.
        NotFound: there is no such image.
        ConfigurationError: it lacks a platform.
        BuildFailed, DiskFull, ToolMissing
    """
    if isinstance(base, EmptyBase):
        return None
    usable = previous if previous is not None and _covers(previous, base, platforms) else None
    if usable is not None and usable.recipe and not refresh:
        return usable
    if isinstance(base, RootRecipe):
        return await _resolve_root(base, base, platforms, roots)
    try:
        return await _resolve_image(base, platforms, reader, timeout)
    except (RegistryUnavailable, Denied) as error:
        if usable is not None and not refresh:
            emit(Note(f"base {base} can't be looked up ({error}): it stays what it was", warning=True))
            return usable
        recipe = substitute_recipe(base.reference) if substitutes else None
        if recipe is None or roots is None:
            raise RegistryUnavailable(
                f"base image {base} can't be pulled: {error}",
                hint="check the network and the registry's credentials, or let `base` name a root file system that "
                "can be made here: mmdebstrap:bookworm",
            ) from error
        emit(Note(f"base {base} can't be pulled ({error}): {recipe} stands in for it", warning=True))
        return await _resolve_root(base, recipe, platforms, roots)


def refuse_unpinned(base: Base, resolved: ResolvedBase | None) -> None:
    """Refuse a base that a release channel may not ship.

    Raises:
        UnpinnedBase: the file names no digest, or something stands in for what it names.
    """
    if not base.pinned:
        raise UnpinnedBase(f"base {base} is not pinned by digest", hint="run `shipgraph pin` and commit the file")
    if resolved is not None and resolved.recipe and isinstance(base, ExternalBase):
        raise UnpinnedBase(
            f"base {base} can't be pulled, and {resolved.recipe} stands in for it",
            hint="release where the base's registry can be reached, or name the recipe as `base`",
        )


def base_image(base: Base, resolved: ResolvedBase | None, platform: Platform) -> BaseImage | None:
    """A resolved base as a build starts from it; None for an empty one."""
    if resolved is None:
        return None
    name = base_name(base)
    try:
        digest = Digest.parse(resolved.platforms[str(platform)])
    except KeyError:
        raise ConfigurationError(f"base {base} was not resolved for {platform}") from None
    return BaseImage(name, f"bases/{name.replace('/', '--')}", digest)


def base_name(base: Base) -> str:
    """The part of a base's alias after its host: where it is from, without tag or digest."""
    if isinstance(base, ExternalBase):
        return f"{base.reference.host.replace(':', '-')}/{base.reference.repository}"
    return f"mmdebstrap/{base.suite}" if isinstance(base, RootRecipe) else ""


async def base_origin(
    base: Base,
    resolved: ResolvedBase,
    platform: Platform,
    *,
    reader: Reader | None,
    roots: RootMaker | None,
) -> Origin | None:
    """Where a resolved base's content comes from; a root file system that is gone is made again.

    Raises:
        BaseGone: it can't be made again as it was, for the archive has moved on.
        RegistryUnavailable, ToolMissing, DiskFull
    """
    if not resolved.recipe:
        if reader is None or not isinstance(base, ExternalBase):
            return None
        return Origin(reader, base.reference.repository)
    if roots is None or isinstance(base, EmptyBase):
        return None
    recipe = base if isinstance(base, RootRecipe) else substitute_recipe(base.reference)
    if recipe is None:
        return None
    digest = Digest.parse(resolved.platforms[str(platform)])
    if not await roots.has(recipe, digest):
        manifest = await roots.make(recipe, platform, await roots.look(recipe))
        if manifest.digest != digest:
            raise BaseGone(
                f"the root file system {recipe} of this release ({digest}) is gone, and Debian's archive has moved on",
                hint="release again with refreshed bases: it becomes a new revision",
            )
    return Origin(roots.store, roots.repository(recipe))


async def _resolve_root(
    base: Base, recipe: RootRecipe, platforms: Sequence[Platform], roots: RootMaker | None
) -> ResolvedBase:
    if roots is None:
        raise RegistryUnavailable(f"base {base} needs a root file system, and none may be made here")
    archive = await roots.look(recipe)
    made = {str(platform): str((await roots.make(recipe, platform, archive)).digest) for platform in platforms}
    return ResolvedBase(name=str(base), key=root_key(recipe, archive), platforms=made, recipe=str(recipe))


async def _resolve_image(
    base: ExternalBase, platforms: Sequence[Platform], reader: Reader | None, timeout: float
) -> ResolvedBase:
    repository, digest = base.reference.repository, base.reference.digest
    if reader is None:
        raise RegistryUnavailable(f"registry {base.reference.host} is not asked")
    with anyio.move_on_after(timeout):
        if digest is None:
            found = await reader.resolve(repository, base.reference.tag or "latest")
            if found is None:
                raise NotFound(f"base image {base} doesn't exist")
            digest = found.digest
        return ResolvedBase(
            name=str(base),
            key=str(digest),
            platforms=await _platform_digests(base, digest, platforms, reader),
            digest=str(digest),
        )
    raise RegistryUnavailable(f"registry {base.reference.host} didn't answer within {timeout:.0f} s")


async def _platform_digests(
    base: ExternalBase, digest: Digest, platforms: Sequence[Platform], reader: Reader
) -> dict[str, str]:
    repository = base.reference.repository
    manifest = await reader.manifest(repository, digest)
    if isinstance(manifest, ImageIndex):
        there = {entry.platform: entry.digest for entry in manifest.manifests if entry.platform is not None}
    else:
        there = {(await read_config(reader, repository, manifest)).platform: manifest.digest}
    missing = [str(platform) for platform in platforms if platform not in there]
    if missing:
        known = ", ".join(sorted(map(str, there)))
        raise ConfigurationError(f"base image {base} is not there for {', '.join(missing)}", allowed=known)
    return {str(platform): str(there[platform]) for platform in platforms}


def _covers(previous: ResolvedBase, base: Base, platforms: Sequence[Platform]) -> bool:
    return previous.name == str(base) and all(str(platform) in previous.platforms for platform in platforms)
