"""Blobs over HTTP: distribution specification 1.1, § Pulling blobs, § Pushing blobs."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import anyio

from shipgraph.errors import DigestMismatch, NotFound, RegistryError
from shipgraph.oci.distribution import HEADER_DIGEST
from shipgraph.oci.reference import check_repository
from shipgraph.remote.auth import pull, push
from shipgraph.remote.feed import Feed, read_ahead
from shipgraph.remote.retry import asked_wait, is_transient
from shipgraph.remote.session import Call, Reply
from shipgraph.remote.transport import TransportFailure
from shipgraph.remote.url import follow, redact, with_query
from shipgraph.store.content import checked
from shipgraph.store.protocols import PIECE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.remote.session import Session
    from shipgraph.store.protocols import BlobSource

_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)", re.ASCII)
OK, CREATED, ACCEPTED, PARTIAL = 200, 201, 202, 206


class Blobs:
    """The blobs of one registry's repositories."""

    def __init__(self, session: Session) -> None:
        self._session = session

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

    async def push(
        self, repository: str, descriptor: Descriptor, source: BlobSource, *, mount_from: str | None = None
    ) -> bool:
        """See ``Pusher.push_blob``.

        Args:
            mount_from: a repository that holds the blob; mounting it is tried before uploading (§ Mounting a blob).
        """
        where = f"blob {repository}@{descriptor.digest}"
        failures = 0
        while True:
            size = await self._size(repository, descriptor.digest)
            if size is not None:
                if size not in (-1, descriptor.size):
                    raise DigestMismatch(where, want=f"{descriptor.size} bytes", got=f"{size} bytes")
                return failures > 0  # the answer to an earlier attempt was lost, the upload was not
            failures += 1
            try:
                return await self._upload(repository, descriptor, source, where, mount_from)
            except _Again as again:
                delay = self._session.retries.delay(failures, again.asked)
                if delay is None:
                    raise again.error from None
            await self._session.retries.sleep(delay)

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

    async def _upload(
        self, repository: str, descriptor: Descriptor, source: BlobSource, where: str, mount_from: str | None
    ) -> bool:
        """One upload from the first byte (§ POST then PUT); sending in chunks would take the place of ``_put``."""
        location = await self._start(repository, descriptor, where, mount_from)
        if location is None:
            return False
        call = Call(
            where,
            "PUT",
            with_query(location, digest=str(descriptor.digest)),
            {CREATED},
            push(repository),
            {"Content-Type": "application/octet-stream"},
            writes=True,
            follows=False,
        )
        try:
            reply = await self._put(call, descriptor, source)
        except TransportFailure as broken:
            if broken.permanent:
                raise self._session.unanswered(call, broken) from None
            raise _Again(self._session.unanswered(call, broken)) from None
        except DigestMismatch:
            await self._cancel(repository, location)
            raise
        if reply.status != CREATED:
            error = self._session.refused(call, reply)
            lost = reply.status in {401, 404, 416}  # the token or the upload session died meanwhile: start afresh
            if lost or is_transient(reply.status, reply.body):
                raise _Again(error, asked_wait(reply.headers, reply.body))
            raise error
        stored = reply.headers.get(HEADER_DIGEST)
        if stored is not None and stored != str(descriptor.digest):
            raise DigestMismatch(where, want=str(descriptor.digest), got=f"{stored[:150]} stored by the registry")
        return True

    async def _start(self, repository: str, descriptor: Descriptor, where: str, mount_from: str | None) -> str | None:
        """Open an upload session; its URL, or None if the blob was mounted instead."""
        path, scopes = f"/v2/{check_repository(repository)}/blobs/uploads/", push(repository)
        if mount_from is not None and mount_from != repository:
            path += "?" + urlencode({"mount": str(descriptor.digest), "from": check_repository(mount_from)})
            scopes += pull(mount_from)
        call = Call(where, "POST", path, {CREATED, ACCEPTED}, scopes, body=b"", writes=True, follows=False)
        reply = await self._session.send(call)
        if reply.status == CREATED and mount_from is not None:
            return None
        location = reply.headers.get("Location")
        if reply.status != ACCEPTED or not location:
            raise RegistryError(
                f"{where}: the registry opened no upload", method="POST", url=redact(reply.url), status=reply.status
            )
        return follow(reply.url, location, plain_http=self._session.plain_allowed)

    async def _put(self, call: Call, descriptor: Descriptor, source: BlobSource) -> Reply:
        """Stream the whole blob as one body.

        The last piece is sent only after length and digest of all have been found right, so a wrong source leaves
        the registry with a body that is too short, which it can't take.
        """
        session = self._session
        # the source before the slot: it may be a download of this same registry, and streams come before writes
        async with source() as pieces, session.limits.writes.slot():
            feed = Feed()
            reply: Reply | None = None
            raised: Exception | None = None
            async with anyio.create_task_group() as group:
                group.start_soon(feed.fill, checked(pieces, descriptor, where=call.what))
                try:
                    reply = await session.upload(call, feed, descriptor.size)
                except Exception as error:
                    raised = error
                finally:
                    feed.stop()
                    group.cancel_scope.cancel()
        if feed.error is not None:
            raise feed.error
        if raised is not None:
            raise raised
        assert reply is not None  # noqa: S101 (one of the three)
        return reply

    async def _cancel(self, repository: str, location: str) -> None:
        """Tell the registry that an upload won't be finished; only a courtesy."""
        call = Call("upload", "DELETE", location, range(200, 500), push(repository), writes=True, follows=False)
        try:
            await self._session.send(call, attempts=1)
        except RegistryError:
            return


class _Again(Exception):
    """An upload that may go better the next time; ``asked`` is the wait in seconds that the registry wants."""

    def __init__(self, error: RegistryError, asked: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.asked = error, asked


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
