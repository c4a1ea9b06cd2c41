"""Stores around stores."""

from __future__ import annotations

import inspect

import pytest

from shipgraph.errors import RegistryUnavailable
from shipgraph.oci.descriptor import Descriptor
from shipgraph.store.content import from_bytes
from shipgraph.store.decorators.counted import Counted
from shipgraph.store.decorators.faulty import Faulty
from shipgraph.store.decorators.intercepted import Intercepted
from shipgraph.store.decorators.read_only import ReadOnly
from shipgraph.store.memory import MemoryStore
from shipgraph.store.protocols import Reader, Store

BLOB = Descriptor.of("application/x", b"content")


def methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_a_read_only_store_reads_everything_and_writes_nothing() -> None:
    assert methods(ReadOnly) == methods(Reader)


def test_an_intercepted_store_forwards_everything() -> None:
    assert methods(Intercepted) - {"around"} == methods(Store)
    assert methods(Store) - {"around"} <= set(vars(Intercepted))


def check_types(memory: MemoryStore) -> tuple[Reader, Store, Store]:
    """Only for the type checker: each decorator is what it decorates."""
    return ReadOnly(memory), Counted(memory), Faulty(memory, lambda _, __: None)


async def test_calls_are_counted() -> None:
    store = Counted(MemoryStore())
    await store.push_blob("a", BLOB, from_bytes(b"content"))
    async with ReadOnly(store).blob("a", BLOB) as pieces:
        assert [piece async for piece in pieces] == [b"content"]
    assert [(call.method, call.repository, call.thing) for call in store.calls] == [
        ("push_blob", "a", str(BLOB.digest)),
        ("blob", "a", str(BLOB.digest)),
    ]
    assert store.count("blob") == 1
    assert [call.method for call in store.writes] == ["push_blob"]


@pytest.mark.parametrize(("moment", "there"), [("before", False), ("after", True)])
async def test_faults_strike_before_or_after(moment: str, there: bool) -> None:
    memory = MemoryStore()
    store = Faulty(memory, lambda call, at: RegistryUnavailable("lost") if call.writes and at == moment else None)
    with pytest.raises(RegistryUnavailable):
        await store.push_blob("a", BLOB, from_bytes(b"content"))
    assert await memory.has_blob("a", BLOB.digest) is there
