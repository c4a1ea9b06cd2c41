"""Uploads of blobs over HTTP: distribution specification 1.1, § Pushing blobs.

Rules:

1. One POST and one PUT of the whole comes first: the one way that every registry takes (GHCR takes chunks of 4 MiB at
   most).
2. After a cut the registry is asked what it has, and only the rest follows, in chunks. A chunk stays in memory until
   it has arrived, so a cut inside the rest costs no second reading of the source.
3. Where the whole is too large for something on the way (413), or broke off twice with nothing kept, all of it goes in
   chunks.
4. A registry that does not know the upload any more, or takes no chunks: from the first byte, in a new session.
5. Whatever the way, the last piece leaves only after length and digest of the whole source have been found right.
6. A request that was turned away for now (429, or 503 with a time to wait) took nothing along: the same one is sent
   again to the same upload. If the registry kept something of it after all, the digest shows that, and 4 applies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import anyio

from shipgraph.errors import DigestMismatch, RegistryError
from shipgraph.oci.distribution import HEADER_CHUNK_MINIMUM, HEADER_DIGEST
from shipgraph.oci.reference import check_repository
from shipgraph.remote.auth import pull, push
from shipgraph.remote.feed import Feed
from shipgraph.remote.retry import asked_wait, is_transient, was_declined
from shipgraph.remote.session import UNAUTHORIZED, Call
from shipgraph.remote.transport import TransportFailure
from shipgraph.remote.url import follow, redact, with_query
from shipgraph.store.content import checked

if TYPE_CHECKING:
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.remote.session import Reply, Session
    from shipgraph.store.protocols import BlobSource

CHUNK: Final = 4 << 20
"""Bytes; what GHCR takes at most."""
_LEAST: Final = 64 << 10  # chunks are not made smaller than this
_MOST_MINIMUM: Final = 64 << 20  # a registry that wants larger chunks gets none: each is held in memory
_RECEIVED: Final = re.compile(r"(?:bytes[ =])?0-([0-9]{1,18})", re.ASCII)
CREATED, ACCEPTED, TOO_LARGE, OUT_OF_RANGE = 201, 202, 413, 416
_LOST: Final = frozenset({UNAUTHORIZED, 404, OUT_OF_RANGE})  # the token or the session died meanwhile: start afresh
_NO_CHUNKS: Final = frozenset({400, 405, 501})
_BINARY: Final = {"Content-Type": "application/octet-stream"}


class Again(Exception):
    """An upload that may go better the next time; ``asked`` is the wait in seconds that the registry wants.

    ``declined``: the registry did nothing, so there is nothing to look at before the next attempt.
    """

    def __init__(self, error: RegistryError, asked: float | None = None, *, declined: bool = False) -> None:
        super().__init__(str(error))
        self.error, self.asked, self.declined = error, asked, declined


class Habits:
    """What was learnt about one registry's way with uploads."""

    def __init__(self) -> None:
        self.takes_chunks = True
        self.too_large: int | None = None

    def wants_chunks(self, size: int) -> bool:
        """Whether a blob of so many bytes can't go as a whole."""
        return self.takes_chunks and self.too_large is not None and size >= self.too_large


class Upload:
    """One blob on its way; ``attempt`` may be called again after ``Again``, and goes on where it can."""

    def __init__(
        self,
        session: Session,
        habits: Habits,
        repository: str,
        descriptor: Descriptor,
        source: BlobSource,
        mount_from: str | None,
    ) -> None:
        self._session, self._habits = session, habits
        self._repository, self._descriptor, self._source = repository, descriptor, source
        self._mount_from = mount_from
        self._where = f"blob {repository}@{descriptor.digest}"
        self._location: str | None = None
        self._most = CHUNK
        self._cuts = 0
        self._resumed = False
        self._declined = False
        self.offset = 0
        """How many bytes the registry has, as far as is known."""

    async def attempt(self) -> bool:
        """Whether the blob was uploaded; False if it was mounted.

        Raises:
            Again: it failed, and trying again may help.
            DigestMismatch: the source or the registry's blob is something else.
            RegistryError: refused.
        """
        if self._location is not None and not self._declined:
            await self._locate()
        self._declined = False
        if self._location is None and not await self._start():
            return False
        size = self._descriptor.size
        in_chunks = self._habits.wants_chunks(size) or (
            self._habits.takes_chunks and self._cuts >= 2 and size > self._most
        )
        try:
            if self.offset == 0 and not in_chunks:
                await self._whole()
            else:
                await self._rest()
        except DigestMismatch:
            await self._cancel()
            raise
        return True

    async def _start(self) -> bool:
        """Open a session; False if the blob was mounted instead."""
        path, scopes = f"/v2/{check_repository(self._repository)}/blobs/uploads/", push(self._repository)
        source = self._mount_from
        if source is not None and source != self._repository:
            path += "?" + urlencode({"mount": str(self._descriptor.digest), "from": check_repository(source)})
            scopes += pull(source)
        call = Call(self._where, "POST", path, {CREATED, ACCEPTED}, scopes, body=b"", writes=True, follows=False)
        reply = await self._session.send(call)
        if reply.status == CREATED and source is not None:
            self._check_stored(reply)
            return False
        location = reply.headers.get("Location")
        if reply.status != ACCEPTED or not location:
            raise RegistryError(
                f"{self._where}: the registry opened no upload",
                method="POST",
                url=redact(reply.url),
                status=reply.status,
            )
        self._moved(reply)
        self.offset, self._resumed = 0, False
        minimum = reply.headers.get(HEADER_CHUNK_MINIMUM, "")
        if re.fullmatch(r"[0-9]{1,9}", minimum, re.ASCII):
            self._most = max(self._most, min(int(minimum), _MOST_MINIMUM))
        return True

    async def _locate(self) -> None:
        """Ask how far the upload is (§ Pushing a blob in chunks); without a clear answer the session is given up."""
        location, self._location = self._location, None
        self.offset, before = 0, self.offset
        if location is None or not self._habits.takes_chunks:
            return
        call = Call(self._where, "GET", location, {200, 202, 204}, push(self._repository), follows=False)
        try:
            reply = await self._session.send(call, attempts=2)
        except RegistryError:
            return
        offset = _received(reply)
        if offset is None or not before <= offset <= self._descriptor.size:
            return  # less than it had confirmed is not to be built on
        self._location, self.offset, self._resumed = location, offset, True
        self._moved(reply)

    async def _whole(self) -> None:
        """Stream the blob as one body."""
        call = self._closing()
        try:
            reply = await self._put(call)
        except TransportFailure as broken:
            error = self._session.unanswered(call, broken)
            if broken.permanent:
                raise error from None
            self._cuts += 1
            raise Again(error) from None
        if reply.status == TOO_LARGE and self._habits.takes_chunks and self._descriptor.size > _LEAST:
            known = self._habits.too_large
            self._habits.too_large = min(self._descriptor.size, known or self._descriptor.size)
            self._location = None
            raise Again(self._session.refused(call, reply))
        self._closed(call, reply)

    async def _put(self, call: Call) -> Reply:
        session = self._session
        # the source before the slot: it may be a download of this same registry, and streams come before writes
        async with self._source() as pieces, session.limits.writes.slot():
            feed = Feed()
            reply: Reply | None = None
            raised: Exception | None = None
            async with anyio.create_task_group() as group:
                group.start_soon(feed.fill, checked(pieces, self._descriptor, where=self._where))
                try:
                    reply = await session.upload(call, feed, self._descriptor.size)
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
        if reply.status == CREATED and not feed.drained:
            raise TransportFailure("the registry said that all had come before it was sent")
        return reply

    async def _rest(self) -> None:
        """Send what the registry lacks in chunks, then close the upload."""
        skip = self.offset
        if skip < self._descriptor.size:
            async with self._source() as pieces, self._session.limits.writes.slot():
                chunk = bytearray()
                async for piece in checked(pieces, self._descriptor, where=self._where):
                    if skip >= len(piece):
                        skip -= len(piece)
                        continue
                    chunk += memoryview(piece)[skip:]
                    skip = 0
                    while len(chunk) >= self._most:
                        full = bytes(memoryview(chunk)[: self._most])
                        del chunk[: len(full)]
                        await self._patch(full)
                if chunk:
                    await self._patch(bytes(chunk))
        call = self._closing()
        async with self._session.limits.writes.slot():
            try:
                reply = await self._session.upload(call, (), 0)
            except TransportFailure as broken:
                raise Again(self._session.unanswered(call, broken)) from None
        self._closed(call, reply)

    async def _patch(self, chunk: bytes) -> None:
        """Send one chunk, until the registry has all of it."""
        failures = 0
        rest = memoryview(chunk)
        while rest:
            assert self._location is not None  # noqa: S101 (an upload is open)
            part = bytes(rest[: self._most])
            begin, end = self.offset, self.offset + len(part)
            call = Call(
                self._where,
                "PATCH",
                self._location,
                {ACCEPTED},
                push(self._repository),
                {**_BINARY, "Content-Range": f"{begin}-{end - 1}"},
                writes=True,
                follows=False,
            )
            asked, declined = None, False
            try:
                reply = await self._session.upload(call, (part,), len(part))
            except TransportFailure as broken:
                error = self._session.unanswered(call, broken)
                if broken.permanent:
                    raise error from None
            else:
                if reply.status == ACCEPTED:
                    self._moved(reply)
                    self.offset = end if "Range" not in reply.headers else _received(reply) or 0
                    if not begin < self.offset <= end:
                        self._location = None
                        raise Again(self._session.refused(call, reply))
                    rest, failures = rest[self.offset - begin :], 0
                    continue
                error = self._session.refused(call, reply)
                asked = asked_wait(reply.headers, reply.body)
                self._judge(reply, begin, error, asked)
                declined = was_declined(reply.status, reply.body, asked)
            failures += 1
            delay = self._session.retries.delay(failures, asked)
            if delay is None:
                raise error
            await self._session.retries.sleep(delay)
            if declined:
                continue
            await self._locate()
            if self._location is None or not begin <= self.offset <= end:
                self._location = None
                raise Again(error)
            if self.offset > begin:
                rest, failures = rest[self.offset - begin :], 0

    def _judge(self, reply: Reply, begin: int, error: RegistryError, asked: float | None) -> None:
        """What a refused chunk means; returns where the same upload may go on.

        Raises:
            Again: only a new session may help.
            RegistryError: nothing will.
        """
        if reply.status in {TOO_LARGE, OUT_OF_RANGE} and self._most > _LEAST:
            self._most //= 2  # it may be in order, and only too large: GHCR says 416 to that
            return
        if reply.status in _NO_CHUNKS and begin == 0:
            self._habits.takes_chunks = False
            self._location = None
            raise Again(error, asked)
        if reply.status in _LOST - {UNAUTHORIZED}:
            self._location = None
            raise Again(error, asked)
        # the token may have died under way: the session has asked for a new one
        if reply.status != UNAUTHORIZED and not is_transient(reply.status, reply.body):
            raise error

    def _closing(self) -> Call:
        assert self._location is not None  # noqa: S101 (an upload is open)
        url = with_query(self._location, digest=str(self._descriptor.digest))
        return Call(self._where, "PUT", url, {CREATED}, push(self._repository), _BINARY, writes=True, follows=False)

    def _closed(self, call: Call, reply: Reply) -> None:
        """Whether the registry's answer to the closing PUT means that it has the blob.

        Raises:
            Again, DigestMismatch, RegistryError
        """
        if reply.status == CREATED:
            self._check_stored(reply)
            return
        error = self._session.refused(call, reply)
        transient = is_transient(reply.status, reply.body)
        asked = asked_wait(reply.headers, reply.body)
        if was_declined(reply.status, reply.body, asked):
            self._declined = self._resumed = True  # should anything of it have been kept, then the digest will be wrong
            raise Again(error, asked, declined=True)
        # put together out of several attempts, and wrong: what one of them left behind is not what it said
        resumed = self._resumed and 400 <= reply.status < 500
        if not transient:
            self._location = None
        if transient or resumed or reply.status in _LOST:
            raise Again(error, asked)
        raise error

    def _check_stored(self, reply: Reply) -> None:
        stored = reply.headers.get(HEADER_DIGEST)
        if stored is not None and stored != str(self._descriptor.digest):
            raise DigestMismatch(
                self._where, want=str(self._descriptor.digest), got=f"{stored[:150]} stored by the registry"
            )

    def _moved(self, reply: Reply) -> None:
        """Take over the upload's new URL, if the registry names one."""
        location = reply.headers.get("Location")
        if location:
            self._location = follow(reply.url, location, plain_http=self._session.plain_allowed)

    async def _cancel(self) -> None:
        """Tell the registry that an upload won't be finished; only a courtesy."""
        if self._location is None:
            return
        scopes = push(self._repository)
        call = Call("upload", "DELETE", self._location, range(200, 500), scopes, writes=True, follows=False)
        try:
            await self._session.send(call, attempts=1)
        except RegistryError:
            return


def _received(reply: Reply) -> int | None:
    """How many bytes the registry says it has; None where that is unclear (``0-0`` is one byte, or none)."""
    match = _RECEIVED.fullmatch(reply.headers.get("Range", "").strip())
    return None if match is None or match[1] == "0" else int(match[1]) + 1
