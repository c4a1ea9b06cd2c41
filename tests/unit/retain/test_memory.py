"""What was read once is remembered by digest, and never believed."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from shipgraph.channel.journal import Batch, JournalEntry, Kind, Owner, Removal, State
from shipgraph.oci.digest import Digest
from shipgraph.retain.memory import FILE, ContentMemory
from shipgraph.retain.restoring import cleanups

if TYPE_CHECKING:
    from pathlib import Path

BODIES = [f"manifest {number}".encode() for number in range(50)]
DIGESTS = [str(Digest.of(body)) for body in BODIES]
KIND = "application/vnd.oci.image.manifest.v1+json"


def fill(memory: ContentMemory) -> None:
    memory.put([(digest, KIND, body) for digest, body in zip(DIGESTS, BODIES, strict=True)])


def test_it_outlives_the_process(tmp_path: Path) -> None:
    first = ContentMemory(tmp_path / "cache")
    fill(first)
    first.close()
    second = ContentMemory(tmp_path / "cache")
    assert second.get([DIGESTS[3], "sha256:" + "0" * 64]) == {DIGESTS[3]: (KIND, BODIES[3])}
    second.close()


def test_without_a_folder_it_lasts_as_long_as_the_process() -> None:
    memory = ContentMemory(None)
    fill(memory)
    assert len(memory.get(DIGESTS)) == 50
    memory.close()


def test_a_body_of_another_digest_counts_as_missing_and_is_thrown_away(tmp_path: Path) -> None:
    memory = ContentMemory(tmp_path)
    fill(memory)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE content SET body = ? WHERE digest = ?", (b"forged", DIGESTS[0]))
    assert memory.get(DIGESTS[:2]) == {DIGESTS[1]: (KIND, BODIES[1])}
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("SELECT count(*) FROM content").fetchone() == (49,)
    memory.close()


def test_a_file_that_is_no_database_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"anything but a database " * 1000)
    memory = ContentMemory(tmp_path)
    assert memory.get(DIGESTS) == {}
    fill(memory)
    memory.close()
    again = ContentMemory(tmp_path)
    assert len(again.get(DIGESTS)) == 50
    again.close()


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    memory = ContentMemory(tmp_path / "file" / "cache")
    fill(memory)
    assert len(memory.get(DIGESTS)) == 50
    memory.close()


def test_several_threads_and_processes_share_one_file(tmp_path: Path) -> None:
    memories = [ContentMemory(tmp_path) for _ in range(2)]
    failed: list[BaseException] = []

    def work(memory: ContentMemory) -> None:
        try:
            for _ in range(20):
                fill(memory)
                assert set(memory.get(DIGESTS)) == set(DIGESTS)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(memory,)) for memory in memories * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for memory in memories:
        memory.close()
    assert failed == []


def entry(number: int, batch: Batch | None) -> JournalEntry:
    return JournalEntry(
        number=number, id="x", project="app", owner=Owner(run="r", attempt=1, nonce="0"), opened_at=number, lease_s=1,
        state=State.SETTLED, kind=Kind.PRUNE, channel="dev", serial=0, release=None, moves=(), heads={}, previous=None,
        batch=batch,
    )  # fmt: skip


def removals(*names: str) -> tuple[Removal, ...]:
    return tuple(Removal(repository="acme/app", digest=name) for name in names)


@pytest.mark.parametrize("again", [False, True], ids=["once", "opened and closed"])
def test_a_clean_up_is_all_its_batches_in_the_order_of_the_deletions(again: bool) -> None:
    """An entry is there twice, as it was opened and as it was closed."""
    first, second = Batch(run="one", removals=removals("a", "b")), Batch(run="one", removals=removals("c"))
    other = Batch(run="two", removals=removals("d"))
    undo = Batch(run="three", removals=removals("d"), undoes="two")
    order = [first, second, None, other, undo]
    entries = [entry(number, batch) for number, batch in enumerate(order) for _ in range(1 + again)]
    found = cleanups(reversed(entries))
    assert [one.run for one in found] == ["two", "one"]
    assert [removal.digest for removal in found[1].removals] == ["a", "b", "c"]
    assert found[1].began == 0
