"""Every error shipgraph raises on purpose, named by its cause.

::

    ShipgraphError
    ├── ConfigurationError            shipgraph.toml, a reference, a command's arguments
    │   ├── InvalidReference          a digest, tag, repository or platform that the OCI specifications refuse
    │   ├── GraphError                cycles and unknown parents
    │   ├── DirtyWorkTree             uncommitted changes where only a commit may be shipped
    │   ├── ToolMissing               a program that has to be installed first
    │   └── UnpinnedBase              a base image that prod refuses
    ├── RegistryError                 one exchange with a registry: method, URL, status, codes
    │   ├── NotFound                  the registry says that it is not there
    │   ├── Denied                    401 or 403
    │   ├── Rejected                  any other definite refusal (4xx)
    │   └── RegistryUnavailable       no answer, 408, 429 or 5xx after all retries: trying again is safe
    ├── ContentError                  bytes that are not what they claim to be
    │   ├── DigestMismatch            a wrong digest or length
    │   ├── MalformedDocument         a manifest, record or journal that doesn't parse
    │   └── ContentUnknown            what must be known before anything is deleted, and isn't
    ├── Conflict                      somebody else was there first
    │   ├── ImmutableTagConflict      an immutable tag exists with another digest
    │   ├── TagMoved                  a moving tag is not where the transaction left it
    │   ├── ChannelAhead              the channel is already past this release
    │   ├── ChannelBusy               another transaction is open
    │   ├── ChannelHeld               releases are held after a rollback
    │   └── ForeignJournal            the journal is another project's
    ├── Refused                       a gate, a test or missing evidence
    │   └── EvidenceMissing
    ├── BuildFailed                   a builder said no
    │   └── BaseGone                  a base of the set can't be had any more, and what is there now differs
    ├── NotPublic                     what everybody should be able to pull, and can't
    ├── KeptLost                      a clean-up had to keep it, and it isn't there any more
    ├── DiskFull                      no room left
    ├── ProcessFailed                 a program ended with an error or was stopped
    ├── GitError                      git could not answer
    ├── Stopped                       the user asked to stop, and nothing is left half-done
    └── TransactionUnfinished         moving tags are half-way: `shipgraph resume`
        └── TransactionRefused        … and the registry said no, so somebody has to mend that first

What the user reads is ``str(error)``: what, and why; then ``error.hint``: what to do next. The exit code of each is
the command line's business (``cli/exit_codes.py``), not the error's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN_ITEMS: Final = 5


class ShipgraphError(Exception):
    """Base of all. ``what`` names the thing and the reason in one sentence; ``hint`` says the next step."""

    hint: str = ""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        if hint:
            self.hint = hint


class ConfigurationError(ShipgraphError):
    """A mistake in ``shipgraph.toml`` or in a command's arguments: file, line (from 1), key, and what is allowed.

    ``mistakes`` are the single ones, where this error stands for several.
    """

    mistakes: tuple[ConfigurationError, ...] = ()

    def __init__(
        self, what: str, *, hint: str = "", file: str = "", line: int | None = None, key: str = "", allowed: str = ""
    ) -> None:
        place = file if line is None else f"{file}:{line}"
        text = f"{place}: {what}" if place else what
        if key:
            text += f" (key `{key}`)"
        if allowed:
            text += f"; allowed: {allowed}"
        super().__init__(text, hint=hint)
        self.file, self.line, self.key, self.allowed = file, line, key, allowed


class InvalidReference(ConfigurationError):
    """A digest, tag, repository name, reference or platform that its specification refuses."""


class GraphError(ConfigurationError):
    """The image graph has a cycle or names a parent that doesn't exist."""


class DirtyWorkTree(ConfigurationError):
    """The work tree has changes that no commit holds; a release names a commit, so it would lie."""


class ToolMissing(ConfigurationError):
    """A program that this step needs is not on PATH."""


class UnpinnedBase(ConfigurationError):
    """A base image without a digest, or a substitute for it, where the channel takes only pinned ones."""


class RegistryError(ShipgraphError):
    """One exchange with a registry that failed.

    ``url`` holds no credentials and only query keys from an allow-list; ``codes`` are the distribution specification's
    error codes from the body; ``status`` is None where no answer came.
    """

    def __init__(
        self,
        what: str,
        *,
        method: str = "",
        url: str = "",
        status: int | None = None,
        codes: Sequence[str] = (),
        detail: str = "",
        hint: str = "",
    ) -> None:
        text = what
        if method:
            text += f": {method} {url}"
        if status is not None:
            text += f" answered {status}"
        if codes:
            text += f" ({', '.join(codes)})"
        if detail:
            text += f": {detail}"
        super().__init__(text, hint=hint)
        self.method, self.url, self.status, self.codes, self.detail = method, url, status, tuple(codes), detail


class NotFound(RegistryError):
    """The registry says for certain that the thing is not there (404 with a matching code)."""


class Denied(RegistryError):
    """401 or 403: the credentials are missing, wrong or not allowed to do this."""

    hint = "log in to the registry, with the right to do this (docker login; for ghcr.io also GITHUB_TOKEN or GHCR_PAT)"


class Rejected(RegistryError):
    """A definite refusal other than 401, 403, 404, 408 and 429: nothing was changed, and repeating it won't help."""


class RegistryUnavailable(RegistryError):
    """No answer, or 408, 429 or 5xx after all retries; whether a write took effect is unknown; repeating is safe."""

    hint = "check that the registry can be reached, then run the same command again"


class ContentError(ShipgraphError):
    """Bytes that are not what they claim to be; nothing of them was used."""


class DigestMismatch(ContentError):
    """Content whose digest or length differs from its descriptor's."""

    def __init__(self, thing: str, *, want: str, got: str) -> None:
        super().__init__(f"{thing}: expected {want}, got {got}", hint="the content is corrupt or forged; do not use it")
        self.want, self.got = want, got


class MalformedDocument(ContentError):
    """A manifest, record, journal or metadata document that its format refuses."""


class ContentUnknown(ContentError):
    """What must be known before anything is deleted, and isn't; nothing was deleted.

    ``items`` names each thing; ``missing`` are manifests (repository without the host, digest) that weren't listed and
    that could be asked for.
    """

    def __init__(
        self, what: str, items: Sequence[str] = (), *, missing: Sequence[tuple[str, str]] = (), hint: str = ""
    ) -> None:
        more = len(items) - _SHOWN_ITEMS
        shown = [*items[:_SHOWN_ITEMS], *([f"and {more} more"] if more > 0 else [])]
        super().__init__(f"{what}: {'; '.join(shown)}" if shown else what, hint=hint)
        self.items, self.missing = tuple(items), tuple(missing)


class Conflict(ShipgraphError):
    """Somebody else was there first; nothing was overwritten."""


class ImmutableTagConflict(Conflict):
    """An immutable tag exists with another digest."""

    def __init__(self, repository: str, tag: str, *, there: str, ours: str, hint: str = "") -> None:
        super().__init__(
            f"{repository}:{tag} is immutable and already is {there}; refused to push {ours} under it",
            hint=hint or "an immutable tag never changes; release a new commit, or find out who pushed the other image",
        )
        self.repository, self.tag, self.there, self.ours = repository, tag, there, ours


class TagMoved(Conflict):
    """A moving tag holds a digest that neither the channel nor the transaction put there."""


class ChannelAhead(Conflict):
    """The channel is already past this release."""


class ChannelBusy(Conflict):
    """Another transaction is open, and its owner may be alive."""


class ChannelHeld(Conflict):
    """A rollback holds the channel: releases are refused until it is released."""


class ForeignJournal(Conflict):
    """The journal in the metadata repository belongs to another project."""


class Refused(ShipgraphError):
    """A gate or a test said no; nothing was published."""


class EvidenceMissing(Refused):
    """Evidence that the project requires is not there."""


class BuildFailed(ShipgraphError):
    """A builder ended with an error; ``log`` is the file with its whole output."""

    def __init__(self, what: str, *, hint: str = "", log: str = "") -> None:
        super().__init__(what, hint=hint)
        self.log = log


class BaseGone(BuildFailed):
    """A base that the set was resolved to is gone and can't be made again; only a new revision can go on."""


class NotPublic(ShipgraphError):
    """Somebody without an account can't pull all of a release that must be public."""


class KeptLost(ShipgraphError):
    """Something that a clean-up had to keep isn't there any more, whoever deleted it; ``items`` are references."""

    hint = "`shipgraph prune --undo` brings back what the last clean-up deleted; then find out who else deletes here"

    def __init__(self, items: Sequence[str]) -> None:
        more = len(items) - _SHOWN_ITEMS
        shown = [*items[:_SHOWN_ITEMS], *([f"and {more} more"] if more > 0 else [])]
        super().__init__(f"{len(items)} manifests that had to stay are gone: {'; '.join(shown)}")
        self.items = tuple(items)


class DiskFull(ShipgraphError):
    """No room left on a file system."""


class ProcessFailed(ShipgraphError):
    """A program ended with an error, was stopped, or ran out of time; ``tail`` holds its last lines of output."""

    def __init__(self, what: str, *, status: int | None = None, tail: str = "", hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.status, self.tail = status, tail


class GitError(ShipgraphError):
    """git could not answer a question about the repository."""


class Stopped(ShipgraphError):
    """The user asked to stop, and it could be done cleanly."""


class TransactionUnfinished(ShipgraphError):
    """The transaction stopped half-way and is left open in the journal for the next command."""

    hint = "run `shipgraph resume`"


class TransactionRefused(TransactionUnfinished):
    """The transaction is left open because the registry definitely refused a request that it needs."""

    hint = "give the credentials the right that is missing, then run `shipgraph resume`"
