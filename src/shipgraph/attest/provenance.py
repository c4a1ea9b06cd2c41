"""SLSA v1 provenance out of the records: what was built from what, by whom (slsa.dev/spec/v1.0/provenance).

Build type ``urn:shipgraph:build:v1``. External parameters are what somebody outside of the build chose: the image, its
platform and arguments. What it was made from stands in ``resolvedDependencies``: the source's commit, bases, parent,
platforms or images. The build record is a by-product, by its digest.

Build type ``urn:shipgraph:pack:v1`` is the payload's and the metadata's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shipgraph.records.builds import INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shipgraph.oci.digest import Digest
    from shipgraph.records.builds import BuildRecord

BUILD_TYPE: Final = "urn:shipgraph:build:v1"
PACK_TYPE: Final = "urn:shipgraph:pack:v1"
LOCAL_BUILDER: Final = "urn:shipgraph:builder:local"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a release comes from: source repository, commit, and the builder that vouches for it.

    ``builder`` is the workflow's address with its ref on GitHub, ``LOCAL_BUILDER`` elsewhere; ``runs`` what stands
    before a run's number in its address, empty where runs have none; ``version`` is shipgraph's own.
    """

    source: str
    commit: str
    builder: str = LOCAL_BUILDER
    runs: str = ""
    version: str = ""


def image_provenance(origin: Origin, record: BuildRecord, *, platforms: Mapping[str, Digest] | None = None) -> Any:
    """The provenance of one platform's image, or of the index over several.

    Args:
        record: the build record; its commit counts, since an image that did not change was built from an older one.
        platforms: of an index, the digest of each platform.
    """
    external: dict[str, Any] = {"image": record.image, "platform": record.platform}
    if record.platform != INDEX:
        external["arguments"] = dict(sorted(record.arguments.items()))
    external["source"] = _source(origin)
    dependencies = [_commit(origin.source, record.commit or origin.commit)]
    dependencies.extend(_content(name, digest) for name, digest in sorted(record.bases.items()))
    if record.parent:
        dependencies.append(_content("parent", record.parent))
    dependencies.extend(_content(name, str(digest)) for name, digest in sorted((platforms or {}).items()))
    return _provenance(
        BUILD_TYPE,
        origin,
        external=external,
        internal={"inputs": record.inputs, "components": dict(sorted(record.components.items()))},
        dependencies=dependencies,
        run=record.run,
        times=(record.started, record.ended),
        tool=record.builder,
    )


def pack_provenance(
    origin: Origin,
    *,
    what: str,
    parameters: Mapping[str, Any],
    contents: Iterable[tuple[str, Digest]],
    run: str = "",
    at: str = "",
) -> dict[str, Any]:
    """The provenance of what is packed from the commit and the release's own images: payload, metadata."""
    return _provenance(
        PACK_TYPE,
        origin,
        external={"artifact": what, **parameters, "source": _source(origin)},
        internal={},
        dependencies=[
            _commit(origin.source, origin.commit),
            *(_content(name, str(digest)) for name, digest in contents),
        ],
        run=run,
        times=(at, at),
        tool="",
    )


def _provenance(
    build_type: str,
    origin: Origin,
    *,
    external: dict[str, Any],
    internal: dict[str, Any],
    dependencies: list[dict[str, Any]],
    run: str,
    times: tuple[str, str],
    tool: str,
) -> dict[str, Any]:
    metadata = {
        "invocationId": f"{origin.runs}{run}" if origin.runs and run.isdecimal() else run,
        "startedOn": times[0],
        "finishedOn": times[1],
    }
    versions = {name: value for name, value in (("shipgraph", origin.version), ("builder", tool)) if value}
    definition: dict[str, Any] = {
        "buildType": build_type,
        "externalParameters": external,
        "resolvedDependencies": dependencies,
    }
    if internal:
        definition["internalParameters"] = internal
    return {
        "buildDefinition": definition,
        "runDetails": {
            "builder": {"id": origin.builder, **({"version": versions} if versions else {})},
            "metadata": {name: value for name, value in metadata.items() if value},
        },
    }


def _source(origin: Origin) -> str:
    return f"git+{origin.source}" if origin.source else ""


def _commit(source: str, commit: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "source", "digest": {"gitCommit": commit}}
    return {"uri": f"git+{source}", **found} if source else found


def _content(name: str, digest: str) -> dict[str, Any]:
    algorithm, _, value = digest.partition(":")
    return {"name": name, "digest": {algorithm: value}}
