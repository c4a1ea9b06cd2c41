"""Tags over HTTP: distribution specification 1.1, § Pulling manifests, § Listing Tags, § Deleting tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import InvalidReference, MalformedDocument, NotFound, RegistryError, Rejected, TagMoved
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.distribution import parse_next_link
from shipgraph.oci.reference import check_repository, check_tag
from shipgraph.remote import manifest as manifests
from shipgraph.remote.auth import delete, pull
from shipgraph.remote.errors import is_absent
from shipgraph.remote.session import Call
from shipgraph.remote.url import join, origin, redact
from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.remote.manifest import Manifests
    from shipgraph.remote.session import Reply, Session
    from shipgraph.store.protocols import Expect

PAGE: Final = 1000
MAX_PAGES: Final = 10_000
MAX_PAGE_BYTES: Final = 32 << 20
PRECONDITION_FAILED: Final = 412


class Tags:
    """The tags of one registry's repositories."""

    def __init__(self, session: Session, written: Manifests) -> None:
        self._session, self._manifests = session, written

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """See ``Resolver``. HEAD tells it; where its answer lacks something, GET does, and the bytes are checked."""
        where = f"tag {repository}:{check_tag(tag)}"
        try:
            reply = await self._session.send(manifests.read("HEAD", repository, tag, where))
        except NotFound:
            return None
        except RegistryError as unclear:
            if unclear.status not in {400, 404, 405, 501}:
                raise
        else:
            digest = manifests.claimed_digest(reply, where)
            kind, size = manifests.claimed_kind(reply), manifests.claimed_size(reply)
            if digest is not None and kind is not None and size is not None:
                return Descriptor(kind, digest, size)
        found = await self.get(repository, tag)
        return None if found is None else found.descriptor

    async def get(self, repository: str, tag: str) -> ImageManifest | ImageIndex | None:
        """The manifest under a tag, checked against the digest that came with it; None if it is not there."""
        where = f"tag {repository}:{check_tag(tag)}"
        try:
            reply = await self._session.send(manifests.read("GET", repository, tag, where))
        except NotFound:
            return None
        return manifests.parse(reply, None, where)

    async def put(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,
    ) -> Reply | None:
        """See ``Tagger.tag``; the registry's answer, or None where it was lost but the tag shows that it was yes."""
        condition: dict[str, str] = {}
        if expect is not ANY and await self.conditional():
            condition = {"If-None-Match": "*"} if expect is None else {"If-Match": f'"{expect}"'}
        call = self._manifests.write(repository, check_tag(tag), manifest, condition=condition)
        if once:
            await self._session.prepare(call.scopes)
            send = self._session.send_once
        else:
            send = self._session.send
        try:
            reply = await send(call)
        except Rejected as refused:
            if refused.status != PRECONDITION_FAILED or not condition:
                raise
            there = await self.resolve(repository, tag)
            if there is not None and there.digest == manifest.digest and not once:
                # an earlier attempt went through and its answer was lost
                return None
            raise TagMoved(
                f"{repository}:{tag} is {'absent' if there is None else there.digest}, not {expect or 'absent'}"
            ) from refused
        manifests.check_stored(reply, manifest, call.what)
        return reply

    async def conditional(self) -> bool:
        """See ``Tagger.conditional``; asked once."""
        return (await self._session.manners()).conditional

    async def names(self, repository: str) -> list[str]:
        """See ``Lister.tags``. All pages are read, in whatever order they come."""
        where = f"tags of {repository}"
        path: str | None = f"/v2/{check_repository(repository)}/tags/list?n={PAGE}"
        found: set[str] = set()
        seen: set[str] = set()
        while path is not None:
            if path in seen or len(seen) >= MAX_PAGES:
                raise RegistryError(f"{where}: the registry's pages have no end", url=redact(self._session.url(path)))
            seen.add(path)
            call = Call(where, "GET", path, {200}, pull(repository), cap=MAX_PAGE_BYTES)
            try:
                reply = await self._session.send(call)
            except NotFound:
                if len(seen) > 1:
                    raise
                return []
            found.update(_page(reply, where))
            path = next_page(self._session, reply, where)
        return sorted(found)

    async def remove(self, repository: str, tag: str) -> None:
        """See ``Deleter.delete_tag``."""
        await remove(self._session, repository, check_tag(tag))


async def remove(session: Session, repository: str, reference: str) -> None:
    """DELETE a manifest or tag (§ Content Management); fine if it is gone already.

    Raises:
        RegistryError: the registry can't (405, or 400 for a tag), or won't.
    """
    path = f"/v2/{check_repository(repository)}/manifests/{reference}"
    mark = "@" if ":" in reference else ":"
    call = Call(
        f"delete {repository}{mark}{reference}",
        "DELETE",
        path,
        {200, 202, 204, 404},
        delete(repository),
        writes=True,
        follows=False,
    )
    reply = await session.send(call)
    if reply.status == 404 and not is_absent(reply):
        raise session.refused(call, reply)


def next_page(session: Session, reply: Reply, where: str) -> str | None:
    """The next page of a list, which must be on the registry itself.

    Raises:
        RegistryError: the link leads elsewhere.
    """
    link = parse_next_link(reply.headers.get("Link", ""))
    if link is None:
        return None
    target = join(reply.url, link)
    if origin(target) != origin(session.base):
        raise RegistryError(f"{where}: the next page is on another host; refused", url=redact(target))
    return target


def _page(reply: Reply, where: str) -> list[str]:
    if reply.overlong:
        raise MalformedDocument(f"{where}: one page has more than {MAX_PAGE_BYTES} bytes")
    try:
        document: Any = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    names = document.get("tags", ()) if isinstance(document, dict) else None
    if names is None and isinstance(document, dict):
        return []  # null where a repository is empty
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise MalformedDocument(f"{where}: the answer is no list of tags")
    try:
        return [check_tag(name) for name in names]
    except InvalidReference as error:
        raise MalformedDocument(f"{where}: {error}") from error
