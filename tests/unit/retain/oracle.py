"""What must remain after a clean-up, worked out without the planner: by walking the store again until nothing is added.

It looks at whole dictionaries of manifests and is as slow as it is plain.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.unit.retain.world import DAY, METADATA, PAYLOAD, World, repository

from shipgraph.channel.journal import State
from shipgraph.evidence.predicates import PREDICATE_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.unit.retain.world import Stored

    from shipgraph.retain.policy import Policy
    from shipgraph.retain.roots import OutsideRoot

Place = tuple[str, str]
SHA = r"sha-[0-9a-f]{40}(-r\d+)?"
OWN = {
    METADATA: re.compile(rf"journal(-\d+)?|retention|set-{SHA}|build-[0-9a-f]{{64}}|(dev|nightly|prod)-\d+"),
    PAYLOAD: re.compile(rf"{SHA}(-.+)?"),
}
ABOUT = re.compile(r"(sha256)-([0-9a-f]{64})(\.sig|\.att|\.sbom)?")


def release_of(place: str, tag: str) -> str | None:
    """The immutable tag that a tag of an image or a payload belongs to."""
    if place == METADATA:
        return None
    match = re.match(SHA, tag)
    whole = match is not None and (match[0] == tag or place == PAYLOAD)
    return match[0] if match is not None and whole else None


def needs_of(world: World, at: Place) -> tuple[set[Place], set[Place]]:
    """What one version needs, and with what it stands and falls both ways."""
    place, digest = at
    stored = world.store[at]
    needs = {(place, child) for child in stored.node.children}
    mutual = {(place, stored.node.subject)}
    named = {
        (other[0], name.digest)
        for name in stored.node.names
        for other in world.store
        if other[0] == name.repository or other[0].endswith(name.repository.removeprefix("*"))
    }
    is_record = place == METADATA and digest not in world.documents
    (mutual if is_record else needs).update(named)
    mutual |= {(place, f"{match[1]}:{match[2]}") for tag in stored.tags if (match := ABOUT.fullmatch(tag))}
    releases = {release for tag in stored.tags if (release := release_of(place, tag))}
    if digest in world.documents and world.documents[digest][1] is not State.ABORTED:
        needs |= {
            other
            for other, there in world.store.items()
            if world.documents[digest][0] in {release_of(other[0], tag) for tag in there.tags}
        }
    needs |= {(METADATA, world.resolve(METADATA, f"set-{release}") or "") for release in releases}
    return needs, mutual


def walk(world: World, roots: Iterable[Place]) -> set[Place]:
    """Everything that roots need."""
    needs: dict[Place, set[Place]] = {at: set() for at in world.store}
    for at in world.store:
        forward, mutual = needs_of(world, at)
        needs[at] |= (forward | mutual) & world.store.keys()
        for other in mutual & world.store.keys():
            needs[other].add(at)
    reached: set[Place] = set()
    waiting = [root for root in roots if root in world.store]
    while waiting:
        at = waiting.pop()
        if at not in reached:
            reached.add(at)
            waiting.extend(needs[at] - reached)
    return reached


def roots(world: World, policy: Policy, outside: tuple[OutsideRoot, ...] = ()) -> set[Place]:
    """What stays for itself."""
    found: set[Place] = set()
    for at, stored in world.store.items():
        own = OWN.get(at[0], re.compile(SHA))
        for tag in stored.tags:
            if at[0] == METADATA and re.match("journal|retention", tag):
                found.add(at)
            if not own.fullmatch(tag) and not ABOUT.fullmatch(tag):
                found.add(at)
        if world.now - max(stored.created, stored.updated) < DAY:
            found.add(at)
        if any(at[1] == root.digest and root.repository in ("", at[0]) for root in outside):
            found.add(at)
    if world.entries:
        for head in world.entries[-1].heads.values():
            found |= {(METADATA, release.metadata) for release in head.releases[:2]}
        if world.entries[-1].state is State.OPEN:
            for move in world.entries[-1].moves:
                found |= {(move.repository, digest) for digest in (move.before, move.after) if digest}
    return found | counted(world, policy) | unfinished(world)


def parts(world: World, release: str) -> set[Place]:
    """Everything that belongs to a release."""
    shipped = world.shipped[release]
    found = {(repository(image), digest) for image, digest in shipped.images.items()}
    found |= {(PAYLOAD, digest) for digest in shipped.payloads.values()}
    return found | {
        (METADATA, digest)
        for digest, (about, end) in world.documents.items()
        if about == release and end is not State.ABORTED
    }


def counted(world: World, policy: Policy) -> set[Place]:
    """What the counts keep."""
    found: set[Place] = set()
    complete = 0
    for release in sorted(world.settled, key=lambda one: world.settled[one], reverse=True):
        found |= {at for at in parts(world, release) if policy.count(at[0]) > complete}
        complete += is_complete(world, release, needs_metadata=policy.count(METADATA) > complete)
    return found


def is_complete(world: World, release: str, *, needs_metadata: bool) -> bool:
    """Whether nothing of a release is missing: its metadata, where that should be there, and what that names; and
    whether each platform of what is there has evidence of all three kinds, its own or from another release."""
    own = parts(world, release)
    documents = {at for at in own if at[0] == METADATA} & world.store.keys()
    named = {(name.repository, name.digest) for at in documents for name in world.store[at].node.names}
    if (needs_metadata and not documents) or named - world.store.keys():
        return False
    there: dict[Place, set[str]] = {}
    for (place, _), stored in world.store.items():
        there.setdefault((place, stored.node.subject), set()).add(stored.node.predicate)
    images = [at for at in own if at[0] not in (METADATA, PAYLOAD) and at in world.store]
    platforms = [(place, child) for place, digest in images for child in world.store[place, digest].node.children]
    return all(there.get(at, set()) >= set(PREDICATE_TYPES.values()) for at in platforms)


def unfinished(world: World) -> set[Place]:
    """What is left of releases that were begun within the last thirty days, and not settled."""
    found: set[Place] = set()
    for release in world.shipped:
        if release in world.settled:
            continue
        own = parts(world, release)
        if record := world.resolve(METADATA, f"set-{release}"):
            own.add((METADATA, record))
        own &= set(world.store)
        touched = []
        for at in own:
            stored = world.store[at]
            others = {release_of(at[0], tag) for tag in stored.tags} - {release, None}
            touched.append(stored.created if others else max(stored.created, stored.updated))
        if touched and max(touched) > world.now - 30 * DAY:
            found |= own
    return found


def last_tagged(world: World, policy: Policy, kept: set[Place]) -> set[Place]:
    """The newest tagged version of each package that would have none, with what it needs; the metadata's first."""
    for place in sorted(policy.roles, key=lambda one: one != METADATA):
        tagged = [at for at, stored in world.store.items() if at[0] == place and stored.tags]
        if tagged and not kept & set(tagged):
            newest = max(tagged, key=lambda at: (*_rank(world.store[at]), at[1]))
            kept = kept | walk(world, kept | {newest})
    return kept


def _rank(stored: Stored) -> tuple[bool, float]:
    about = any(ABOUT.fullmatch(tag) for tag in stored.tags)
    return not about, max(stored.created, stored.updated)


def remains(world: World, policy: Policy, outside: tuple[OutsideRoot, ...] = ()) -> set[Place]:
    """Exactly what is to be there after a clean-up."""
    return last_tagged(world, policy, walk(world, roots(world, policy, outside)))
