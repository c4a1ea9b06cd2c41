"""One release: a pure function of the project, git, and what started it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from shipgraph.errors import ConfigurationError, DirtyWorkTree, InvalidReference, UnpinnedBase
from shipgraph.oci.reference import check_host, check_repository
from shipgraph.project.channels import decide
from shipgraph.project.graph import Graph
from shipgraph.project.trigger import TriggerKind
from shipgraph.records.sets import immutable_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.oci.platform import Platform
    from shipgraph.project.git import GitState
    from shipgraph.project.spec import Project
    from shipgraph.project.trigger import Trigger

_SCP: Final = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!/)([^?#\s]+)", re.ASCII)
SHOWN_CHANGES: Final = 5


@dataclass(frozen=True, slots=True)
class Release:
    """What is about to be shipped, and where.

    ``commit_time`` is in seconds since the epoch; ``tree`` the git tree that is built (where ``dirty``, the work
    tree's); ``channel`` is None for a pull request, which publishes nothing; ``release_tag`` is a release channel's
    version; ``registry`` a host and ``namespace`` a lower-case path; ``source`` the https address of the source
    repository, or empty where nobody knows it. ``omitted_images`` are built for none of the platforms, where these were
    narrowed; they are not in the project's graph then.
    """

    project: Project
    commit: str
    commit_time: int
    tree: str
    dirty: bool
    trigger: Trigger
    channel: str | None
    version: str
    release_tag: str | None
    registry: str
    namespace: str
    platforms: tuple[Platform, ...]
    publishes: bool
    rehearsal: bool
    source: str
    omitted_images: tuple[str, ...] = ()

    def immutable_tag(self, revision: int = 1) -> str:
        """The one tag a build pushes: ``sha-<commit>``, ``sha-<commit>-rN`` from the second revision on."""
        return immutable_tag(self.commit, revision)

    @property
    def moving_tags(self) -> tuple[str, ...]:
        """The tags of every image that this release moves: the channel's, then the release tag."""
        return tuple(tag for tag in (self.channel, self.release_tag) if tag is not None)

    @property
    def untested_images(self) -> tuple[str, ...]:
        """Images without a test for some platform, by key, where a release has to have one for each."""
        if "test" not in self.project.evidence or not self.publishes:
            return ()
        lacking = [
            image.key
            for image in self.project.graph
            for platform in self.image_platforms(image.key)
            if not any(not test.platforms or platform in test.platforms for test in image.tests)
        ]
        return tuple(dict.fromkeys(lacking))

    @property
    def omitted_platforms(self) -> tuple[Platform, ...]:
        """Platforms of the project that this release leaves out; whoever narrows them says so."""
        return tuple(platform for platform in self.project.platforms if platform not in self.platforms)

    @property
    def unpinned_bases(self) -> tuple[str, ...]:
        """Images whose base names no digest, where the channel takes only pinned ones; empty elsewhere."""
        if self.channel is None or not self.project.channels[self.channel].pinned:
            return ()
        return tuple(image.key for image in self.project.graph if image.base is not None and not image.base.pinned)

    def image_platforms(self, key: str) -> tuple[Platform, ...]:
        """The platforms one image is built for in this release."""
        return tuple(platform for platform in self.project.graph[key].platforms if platform in self.platforms)

    def repository(self, key: str) -> str:
        """An image's repository with its namespace, without the host."""
        return self._within(self.project.graph[key].repository)

    @property
    def payload_repository(self) -> str | None:
        """The payload's repository with its namespace, if the project has a payload."""
        return None if self.project.payload is None else self._within(self.project.payload.repository)

    @property
    def metadata_repository(self) -> str:
        """The metadata's repository with its namespace."""
        return self._within(self.project.metadata.repository)

    @property
    def repositories(self) -> tuple[str, ...]:
        """Every repository the release touches: images in topological order, payload, metadata."""
        payload = (self.payload_repository,) if self.payload_repository else ()
        return (*(self.repository(image.key) for image in self.project.graph), *payload, self.metadata_repository)

    def _within(self, repository: str) -> str:
        return f"{self.namespace}/{repository}" if self.namespace else repository


def plan_release(
    project: Project,
    git: GitState,
    trigger: Trigger,
    *,
    registry: str | None = None,
    namespace: str | None = None,
    platforms: Sequence[Platform] | None = None,
    rehearsal: bool = False,
    view: bool = False,
) -> Release:
    """Decide what a trigger releases; nothing is read or written.

    Args:
        registry: overrides the project's host.
        namespace: overrides the project's namespace.
        platforms: narrows the project's platforms; only a rehearsal or a pull request may.
        rehearsal: nothing leaves the machine, so a dirty work tree, fewer platforms, a branch that no channel follows,
            unpinned bases, and an event about another commit are allowed; a project without a source repository gets
            its own name as namespace.
        view: nothing is shipped at all, only looked at (`plan`, `status`): what `rehearsal` allows, but for the
            namespace.

    Raises:
        ConfigurationError: the trigger leads nowhere, or registry, namespace or platforms can't be.
        DirtyWorkTree: the work tree has changes, and this is no rehearsal, view or pull request.
        UnpinnedBase: the channel takes only pinned bases, and this is no rehearsal or view.
    """
    harmless = rehearsal or view
    narrow = harmless or trigger.kind is TriggerKind.PULL_REQUEST
    fallback = project.default_branch if harmless else None
    destination = decide(project.channels, trigger, branch=git.branch, fallback=fallback)
    if git.dirty and not narrow:
        raise DirtyWorkTree(
            f"the work tree has changes that no commit holds: {_shown(git.changed)}",
            hint="commit or stash them; `shipgraph rehearse` takes a dirty tree",
        )
    if trigger.sha and trigger.sha != git.commit and not narrow:
        raise ConfigurationError(
            f"the event is about commit {trigger.sha}, and {git.commit} is checked out", hint="check that commit out"
        )
    source = project.source or trigger.source or source_address(git.remote_url)
    chosen = _platforms(project, platforms, narrow=narrow)
    omitted = tuple(image.key for image in project.graph if not any(one in chosen for one in image.platforms))
    if omitted:
        # nothing that stays is built from one of these: a child's platforms are its parent's too
        project = replace(project, graph=Graph.of(image for image in project.graph if image.key not in omitted))
    release = Release(
        project=project,
        commit=git.commit,
        commit_time=git.commit_time,
        tree=git.tree,
        dirty=git.dirty,
        trigger=trigger,
        channel=destination.channel,
        version=destination.version,
        release_tag=destination.release_tag,
        registry=check_host(registry or project.registry),
        namespace=_namespace(project, trigger, git, namespace, rehearsal=rehearsal),
        platforms=chosen,
        publishes=trigger.kind is not TriggerKind.PULL_REQUEST,
        rehearsal=rehearsal,
        source=source,
        omitted_images=omitted,
    )
    for repository in release.repositories:
        check_repository(repository)
    if release.unpinned_bases and not harmless:
        raise UnpinnedBase(
            f"channel {release.channel} takes only bases pinned by digest, and {', '.join(release.unpinned_bases)}"
            f" {'has' if len(release.unpinned_bases) == 1 else 'have'} none",
            hint="run `shipgraph pin` and commit the file",
        )
    return release


def parse_registry(text: str) -> tuple[str, str | None]:
    """Read ``--registry HOST[/NAMESPACE]`` into host and lower-case namespace.

    Raises:
        InvalidReference: it has a scheme, or either part is malformed.
    """
    if "://" in text:
        raise InvalidReference(
            f"{text[:200]!r} is a URL",
            allowed="HOST or HOST/NAMESPACE, without a scheme",
            hint="leave out what is before //",
        )
    host, slash, namespace = text.partition("/")
    return check_host(host), check_repository(namespace.lower()) if slash and namespace else None


def source_address(remote: str) -> str:
    """The https address of a git remote (https, ssh or scp-like), without credentials; empty for any other kind."""
    if match := _SCP.fullmatch(remote):
        host, path = match[1], match[2]
    else:
        try:
            parts = urlsplit(remote)
            host, path = parts.hostname or "", parts.path
            if parts.scheme not in ("https", "ssh", "git+ssh", "http", "git"):
                return ""
            if parts.scheme == "https" and parts.port not in (None, 443):
                host = f"{host}:{parts.port}"
        except ValueError:
            return ""
    path = path.strip("/").removesuffix(".git")
    if not host or not path or not re.fullmatch(r"[A-Za-z0-9._~/+-]+", path, re.ASCII) or "." not in host:
        return ""
    return f"https://{host}/{path}"


def _namespace(project: Project, trigger: Trigger, git: GitState, given: str | None, *, rehearsal: bool) -> str:
    if given or project.namespace:
        return check_repository((given or project.namespace or "").lower())
    # The running repository's owner, even if the project says where its source is: a fork publishes to its own place.
    address = trigger.source or source_address(git.remote_url) or project.source or ""
    owner = address.removeprefix("https://").split("/")[1:2]
    if owner:
        return check_repository(owner[0].lower())
    if rehearsal:
        return project.name
    raise ConfigurationError(
        "nobody says which namespace of the registry the release belongs to",
        key="project.namespace",
        hint="set namespace in [project], or give --registry HOST/NAMESPACE; for a rehearsal's registry, --root FOLDER",
    )


def _platforms(project: Project, given: Sequence[Platform] | None, *, narrow: bool) -> tuple[Platform, ...]:
    if given is None:
        return project.platforms
    allowed = ", ".join(map(str, project.platforms))
    unknown = [str(platform) for platform in given if platform not in project.platforms]
    if unknown:
        raise ConfigurationError(f"the project is not built for {', '.join(unknown)}", allowed=allowed)
    chosen = tuple(platform for platform in project.platforms if platform in given)
    if not chosen:
        raise ConfigurationError("no platform is left to build", allowed=allowed)
    if chosen != project.platforms and not narrow:
        left = ", ".join(str(platform) for platform in project.platforms if platform not in chosen)
        raise ConfigurationError(
            f"a release without {left} would be incomplete",
            hint="only a rehearsal or a pull request may narrow the platforms",
        )
    if not any(platform in chosen for image in project.graph for platform in image.platforms):
        raise ConfigurationError(f"no image is built for {', '.join(map(str, chosen))}")
    return chosen


def _shown(changed: Sequence[str]) -> str:
    rest = len(changed) - SHOWN_CHANGES
    return ", ".join(changed[:SHOWN_CHANGES]) + (f" and {rest} more" if rest > 0 else "")
