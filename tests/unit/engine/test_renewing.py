"""What is signed anew was signed before: a registry that was written to gets no signature out of a refresh."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.unit.engine.world import REQUIRED, TIMING, World, make_signed_world

from shipgraph.channel.journal import JOURNAL, encode_entry
from shipgraph.channel.metadata import encode_metadata
from shipgraph.check.channel import read_channel, read_journal
from shipgraph.engine.attesting import renewal_signer
from shipgraph.engine.finalizing import Transacting
from shipgraph.engine.opening import open_view
from shipgraph.engine.recovering import Recovery
from shipgraph.engine.signing import trust_of
from shipgraph.engine.viewing import names
from shipgraph.engine.workspace import Workspace
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.requirements import Kind
from shipgraph.promote.protocol import Settled
from shipgraph.promote.recovery import Rollback
from shipgraph.promote.stage import Wishes
from shipgraph.records.document import push_document

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.digest import Digest

pytestmark = pytest.mark.anyio

META = "acme/demo-metadata"


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A channel with two releases."""
    world = make_signed_world(tmp_path / "demo")
    await world.publish()
    world.edit("docker/side/hello", "hello", "hallo")
    world.commit()
    await world.publish()
    return world


async def recovery(world: World) -> Recovery:
    view = await open_view(world.folder, None, None)
    emit = world.events.append
    sign = renewal_signer(view, Workspace.of(world.folder), world.store, host="registry.example", emit=emit)
    return Recovery(view, world.store, TIMING, Transacting(Wishes(), protected=nullcontext), emit=emit, sign=sign)


async def forge(world: World, position: int) -> None:
    """As whoever can push: another image in a release's metadata, and a journal that names that."""
    of = names(await open_view(world.folder, None, None))
    entry = await read_journal(world.store, of)
    view = await read_channel(world.store, of, "dev", entry)
    assert entry is not None
    assert view.metadata is not None
    app, *others = view.metadata.images
    evil = msgspec.structs.replace(app, repository=others[0].repository, digest=others[0].digest)
    forged = encode_metadata(msgspec.structs.replace(view.metadata, images=(evil, *others)), of.metadata_type)
    await push_document(world.store, META, forged)
    head = entry.heads["dev"]
    releases = list(head.releases)
    releases[position] = msgspec.structs.replace(releases[position], metadata=str(forged.manifest.digest))
    heads = {**entry.heads, "dev": msgspec.structs.replace(head, releases=tuple(releases))}
    journal = encode_entry(msgspec.structs.replace(entry, heads=heads))
    await push_document(world.store, META, journal)
    await world.store.tag(META, JOURNAL, journal.manifest)
    if position == 0:
        await world.store.tag(META, "dev", forged.manifest)
        await world.store.tag(META, "channels", forged.manifest)


async def is_believed(world: World, digest: Digest | None) -> bool:
    assert digest is not None
    policy = trust_of(await open_view(world.folder, None, None), Workspace.of(world.folder), "registry.example")
    return (await ReferrerVerifier(world.store, policy).find(META, digest, Kind.PROVENANCE)).verified is not None


async def test_what_the_project_signed_is_signed_anew(world: World) -> None:
    mending = await recovery(world)
    for outcome in (await mending.refresh("dev"), await mending.rollback(Rollback("dev"))):
        assert isinstance(outcome, Settled)
        assert await is_believed(world, outcome.metadata)


async def test_a_forged_current_release_is_not_refreshed(world: World) -> None:
    await forge(world, 0)
    before = await world.tags()
    with pytest.raises(EvidenceUntrusted, match="it is not signed"):
        await (await recovery(world)).refresh("dev")
    assert await world.tags() == before


async def test_a_forged_predecessor_is_not_gone_back_to(world: World) -> None:
    await forge(world, 1)
    before = await world.tags()
    with pytest.raises(EvidenceUntrusted, match="it is not signed"):
        await (await recovery(world)).rollback(Rollback("dev"))
    assert await world.tags() == before


async def test_where_no_evidence_is_required_it_goes_on_unsigned(world: World) -> None:
    world.edit("shipgraph.toml", REQUIRED, "require = []")
    await forge(world, 0)
    outcome = await (await recovery(world)).refresh("dev")
    assert isinstance(outcome, Settled)
    assert not await is_believed(world, outcome.metadata)
