"""Journal and metadata: what is written can be read, the same value makes the same bytes, heads move as they should."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.channel.journal import (
    HISTORY,
    ChannelHead,
    HeadRelease,
    JournalEntry,
    Kind,
    Mark,
    Move,
    Owner,
    State,
    advances,
    burn_serial,
    decode_entry,
    encode_entry,
    settle_heads,
)
from shipgraph.channel.metadata import (
    ChannelMetadata,
    ImageEntry,
    PayloadEntry,
    decode_metadata,
    encode_metadata,
    parse_time,
    repository_path,
    rfc3339,
)
from shipgraph.errors import MalformedDocument

META = "acme/metadata"
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
texts = st.text(max_size=20)
digests = st.integers(0, 2**64).map(lambda n: f"sha256:{n:064x}")
counts = st.integers(0, 2**40)
marks = st.builds(Mark, commit=words, revision=counts, version=texts)
releases = st.builds(
    HeadRelease,
    immutable_tag=words,
    version=texts,
    commit=words,
    revision=counts,
    serial=counts,
    metadata=digests,
    settled_at=texts,
)
heads = st.builds(
    ChannelHead,
    serial=counts,
    high_water=st.none() | marks,
    releases=st.lists(releases, max_size=4, unique_by=lambda r: (r.immutable_tag, r.version)).map(tuple),
    hold=texts,
    undone=st.lists(releases, max_size=2).map(tuple),
)
entries = st.builds(
    JournalEntry,
    number=counts,
    id=words,
    project=texts,
    owner=st.builds(Owner, run=texts, attempt=counts, nonce=words),
    opened_at=st.floats(0, 4e9),
    lease_s=st.floats(0, 1e5),
    state=st.sampled_from(State),
    kind=st.sampled_from(Kind),
    channel=words,
    serial=counts,
    release=st.none() | releases,
    moves=st.lists(
        st.builds(Move, repository=st.just(META) | words, tag=words, before=st.none() | digests, after=digests),
        max_size=4,
    ).map(tuple),
    heads=st.dictionaries(words, heads, max_size=3),
    previous=st.none() | digests,
    hold=st.none() | texts,
)
metadata = st.builds(
    ChannelMetadata,
    channel=words,
    version=texts,
    immutable_tag=words,
    moving_tags=st.lists(words, max_size=3).map(tuple),
    images=st.lists(st.builds(ImageEntry, image=words, repository=texts, digest=digests), max_size=3).map(tuple),
    payload=st.none() | st.builds(PayloadEntry, ref=texts, digest=digests),
    generated_at=texts,
    serial=counts,
    commit=words,
    expires_at=texts,
)


@given(entries)
def test_an_entry_comes_back_as_it_was(entry: JournalEntry) -> None:
    document = encode_entry(entry)
    assert decode_entry(document.content, where="x") == entry
    assert encode_entry(entry).manifest.digest == document.manifest.digest


@given(metadata)
def test_metadata_comes_back_as_it_was(value: ChannelMetadata) -> None:
    document = encode_metadata(value, "application/vnd.test.v1+json")
    assert decode_metadata(document.content, where="x") == value
    assert encode_metadata(value, "application/vnd.test.v1+json").manifest.digest == document.manifest.digest


@given(st.binary(max_size=200))
def test_anything_else_is_malformed(content: bytes) -> None:
    for decode in (decode_entry, decode_metadata):
        with pytest.raises(MalformedDocument):
            decode(content, where="x")


@given(entries, st.integers(0, 300))
def test_a_cut_entry_is_malformed(entry: JournalEntry, cut: int) -> None:
    content = encode_entry(entry).content
    with pytest.raises(MalformedDocument):
        decode_entry(content[: max(0, len(content.rstrip()) - 1 - cut)], where="x")


@given(entries)
def test_heads_never_lose_a_channel_and_serials_never_fall(entry: JournalEntry) -> None:
    for after in (settle_heads(entry, settled_at="", advance=advances(entry, META)), burn_serial(entry)):
        assert set(after) == {*entry.heads, entry.channel}
        assert all(after[name] == head for name, head in entry.heads.items() if name != entry.channel)
        assert after[entry.channel].serial == max(entry.head(entry.channel).serial, entry.serial)
        assert len(after[entry.channel].releases) <= HISTORY


@given(entries, releases)
def test_an_aborted_entry_changes_nothing_but_its_serial(entry: JournalEntry, release: HeadRelease) -> None:
    aborted = burn_serial(msgspec.structs.replace(entry, release=release))[entry.channel]
    before = entry.head(entry.channel)
    assert msgspec.structs.replace(aborted, serial=before.serial) == before


def entry_of(kind: Kind, release: HeadRelease, head: ChannelHead) -> JournalEntry:
    return JournalEntry(
        number=1,
        id="x",
        project="x",
        owner=Owner(run="r", attempt=1, nonce="n"),
        opened_at=0,
        lease_s=1,
        state=State.OPEN,
        kind=kind,
        channel="dev",
        serial=head.serial + 1,
        release=msgspec.structs.replace(release, serial=head.serial + 1),
        moves=(),
        heads={"dev": head},
        previous=None,
    )


def head_of(name: str) -> HeadRelease:
    return HeadRelease(
        immutable_tag=name, version="dev", commit=name, revision=1, serial=0, metadata=name, settled_at=""
    )


def after(kind: Kind, name: str, head: ChannelHead) -> ChannelHead:
    return settle_heads(entry_of(kind, head_of(name), head), settled_at="now", advance=True)["dev"]


def names(releases: tuple[HeadRelease, ...]) -> list[str]:
    return [release.immutable_tag for release in releases]


def test_rollbacks_walk_down_the_history_and_up_again() -> None:
    head = ChannelHead(serial=0)
    for name in "abc":
        head = after(Kind.RELEASE, name, head)
    assert (names(head.releases), head.high_water and head.high_water.commit) == (["c", "b", "a"], "c")
    head = after(Kind.ROLLBACK, "b", head)
    assert (names(head.releases), names(head.undone)) == (["b", "a"], ["c"])
    head = after(Kind.ROLLBACK, "a", head)
    assert (names(head.releases), names(head.undone)) == (["a"], ["b", "c"])
    assert head.high_water
    assert head.high_water.commit == "c"
    head = after(Kind.ROLLBACK, "c", head)
    assert (names(head.releases), names(head.undone)) == (["c", "a"], ["b"])
    head = after(Kind.REFRESH, "c", head)
    assert (names(head.releases), head.serial, head.releases[0].serial) == (["c", "a"], 7, 7)
    head = after(Kind.RELEASE, "d", head)
    assert names(head.releases) == ["d", "c", "a"]


def test_a_rollback_over_several_releases_undoes_all_of_them() -> None:
    head = ChannelHead(serial=0)
    for name in "abc":
        head = after(Kind.RELEASE, name, head)
    head = after(Kind.ROLLBACK, "a", head)
    assert (names(head.releases), names(head.undone)) == (["a"], ["c", "b"])


@given(st.integers(0, 4_000_000_000))
def test_times_come_back(seconds: int) -> None:
    assert parse_time(rfc3339(seconds)).timestamp() == seconds


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ghcr.io/acme/app", "acme/app"),
        ("127.0.0.1:5000/acme/app", "acme/app"),
        ("localhost/acme/app", "acme/app"),
        ("acme/app", "acme/app"),
        ("app", "app"),
    ],
)
def test_a_repository_without_its_host(name: str, path: str) -> None:
    assert repository_path(name) == path
