"""Whether something may be written, without writing it: an upload is begun and given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.errors import RegistryError
from shipgraph.oci.reference import check_repository
from shipgraph.remote.auth import push
from shipgraph.remote.session import Call
from shipgraph.remote.url import follow

if TYPE_CHECKING:
    from shipgraph.remote.session import Session

_ACCEPTED: Final = 202


async def try_write(session: Session, repository: str) -> None:
    """Begin an upload to a repository and cancel it; nothing is stored, and no repository is made.

    Raises:
        Denied, RegistryError
    """
    where, scopes = f"write access to {repository}", push(repository)
    path = f"/v2/{check_repository(repository)}/blobs/uploads/"
    reply = await session.send(Call(where, "POST", path, {_ACCEPTED}, scopes, body=b"", writes=True, follows=False))
    location = reply.headers.get("Location")
    if not location:
        return
    try:
        url = follow(reply.url, location, plain_http=session.plain_allowed)
        await session.send(Call(where, "DELETE", url, range(200, 500), scopes, writes=True, follows=False), attempts=1)
    except RegistryError:
        return  # giving it up is a courtesy: an upload that nobody goes on with ends by itself
