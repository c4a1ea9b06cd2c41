"""Blobs over HTTP: distribution specification 1.1, § Pulling blobs, § Pushing blobs."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shipgraph.errors import DigestMismatch, NotFound, RegistryError
from shipgraph.oci.reference import check_repository
from shipgraph.remote.auth import pull
from shipgraph.remote.feed import read_ahead
from shipgraph.remote.session import Call, Reply
from shipgraph.remote.transport import TransportFailure
from shipgraph.remote.upload import Again, Habits, Upload
from shipgraph.remote.url import redact
from shipgraph.store.content import checked
from shipgraph.store.protocols import PIECE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.remote.session import Session
    from shipgraph.store.protocols import BlobSource

_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)", re.ASCII)
OK, PARTIAL = 200, 206


class Blobs:
    """The blobs of one registry's repositories."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._habits = Habits()

    async def has(self, repository: str, digest: Digest) -> bool:
        """See ``Prober.has_blob``."""
        return await self._size(repository, digest) is not None

    @asynccontextmanager
    async def open(self, repository: str, descriptor: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ``Fetcher.blob``. A cut body is taken up where it broke off; the digest is that of the whole."""
        where = f"blob {repository}@{descriptor.digest}"
        path = _path(repository, descriptor.digest)
        call = Call(where, "GET", path, {OK, PARTIAL}, pull(repository))
        async with self._session.limits.streams.slot():
            first = await self._session.open(call, good={OK})
            try:
                _check_length(first, descriptor, where)
                async with read_ahead(self._pieces(call, first, descriptor)) as pieces:
                    yield checked(pieces, descriptor, where=where)
            finally:
                _end(first)

    async def sample(self, repository: str, descriptor: Descriptor) -> None:
        """Read a blob's first byte, along every redirect, and compare the length of the whole.

        Raises:
            NotFound: it is not there, for certain.
            DigestMismatch: it is of another length.
            RegistryError
        """
        where = f"blob {repository}@{descriptor.digest}"
        path, scopes = _path(repository, descriptor.digest), pull(repository)
        if descriptor.size == 0:  # there is no range of nothing
            await self._session.send(Call(where, "HEAD", path, {OK}, scopes))
            return
        reply = await self._session.send(
            Call(where, "GET", path, {OK, PARTIAL}, scopes, headers={"Range": "bytes=0-0"}, cap=1)
        )
        total = reply.headers.get("Content-Range", "").rpartition("/")[2]
        if reply.status == OK:
            total = reply.headers.get("Content-Length", "")
        if re.fullmatch(r"[0-9]{1,18}", total, re.ASCII) and int(total) != descriptor.size:
            raise DigestMismatch(where, want=f"{descriptor.size} bytes", got=f"{total} bytes")
        if not reply.body:
            raise DigestMismatch(where, want=f"{descriptor.size} bytes", got="nothing")

    async def push(
        self, repository: str, descriptor: Descriptor, source: BlobSource, *, mount_from: str | None = None
    ) -> bool:
        """See ``Pusher.push_blob``.

        Args:
            mount_from: a repository that holds the blob; mounting it is tried before uploading (§ Mounting a blob).
        """
        where = f"blob {repository}@{descriptor.digest}"
        upload = Upload(self._session, self._habits, repository, descriptor, source, mount_from)
        policy = self._session.retries
        failures = attempts = offset = 0
        declined = False
        while True:
            size = None if declined else await self._size(repository, descriptor.digest)
            if size is not None:
                if size not in (-1, descriptor.size):
                    raise DigestMismatch(where, want=f"{descriptor.size} bytes", got=f"{size} bytes")
                return attempts > 0  # the answer to an earlier attempt was lost, the upload was not
            attempts += 1
            try:
                return await upload.attempt()
            except Again as again:
                # progress earns new patience, but not without end
                failures = 1 if upload.offset > offset else failures + 1
                offset, declined = max(offset, upload.offset), again.declined
                delay = policy.delay(failures, again.asked)
                if delay is None or attempts > 10 * policy.attempts:
                    raise again.error from None
            await policy.sleep(delay)

    async def _size(self, repository: str, digest: Digest) -> int | None:
        """The blob's size, -1 if it is there but of unknown size, None if it is not there for certain."""
        call = Call(f"blob {repository}@{digest}", "HEAD", _path(repository, digest), {OK}, pull(repository))
        try:
            reply = await self._session.send(call)
        except NotFound:
            return None
        length = reply.headers.get("Content-Length", "")
        return int(length) if re.fullmatch(r"[0-9]{1,18}", length, re.ASCII) else -1

    async def _pieces(self, call: Call, first: Reply, descriptor: Descriptor) -> AsyncIterator[bytes]:
        """The body's pieces as they come, with as many resumptions as patience allows, unchecked."""
        done = 0
        failures = resumed = 0
        reply, skip = first, 0
        policy = self._session.retries
        while True:
            try:
                assert reply.exchange is not None  # noqa: S101 (opened with its status in `good`)
                while piece := await reply.exchange.read(PIECE):
                    failures = 0
                    if skip >= len(piece):
                        skip -= len(piece)
                        continue
                    fresh = piece[skip:] if skip else piece
                    skip = 0
                    done += len(fresh)
                    yield fresh
                return
            except TransportFailure as broken:
                failures += 1
                resumed += 1
                delay = policy.delay(failures)
                # progress earns new patience, but not without end: a server could drip for ever
                if delay is None or resumed > 10 * policy.attempts:
                    raise self._session.unanswered(call, broken) from None
            finally:
                _end(reply)
            await policy.sleep(delay)
            if done == descriptor.size:
                return
            reply, skip = await self._resume(call, done)

    async def _resume(self, call: Call, done: int) -> tuple[Reply, int]:
        """Ask for the rest; and how many bytes to skip where the server sends all of it again."""
        again = call if done == 0 else replace(call, headers={**call.headers, "Range": f"bytes={done}-"})
        reply = await self._session.open(again, good={OK, PARTIAL})
        if reply.status == OK:
            return reply, done
        match = _RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != done:
            _end(reply)
            raise RegistryError(
                f"{call.what}: asked for bytes from {done}, got another range", method="GET", url=redact(reply.url)
            )
        return reply, 0


def _end(reply: Reply) -> None:
    if reply.exchange is not None:
        reply.exchange.end()


def _path(repository: str, digest: Digest) -> str:
    return f"/v2/{check_repository(repository)}/blobs/{digest}"


def _check_length(reply: Reply, descriptor: Descriptor, where: str) -> None:
    """A length that differs from the descriptor's is refused before anything is read."""
    length = reply.headers.get("Content-Length", "")
    if re.fullmatch(r"[0-9]{1,18}", length, re.ASCII) and int(length) != descriptor.size:
        raise DigestMismatch(where, want=f"{descriptor.size} bytes", got=f"{length} bytes")
