"""From the words of the file to the project's values: defaults filled in, names checked, paths looked at."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from shipgraph.errors import ConfigurationError
from shipgraph.evidence.trust import Identity, SignerRule, TrustedKey
from shipgraph.oci.platform import Platform
from shipgraph.oci.reference import check_host, check_repository
from shipgraph.project import graph as graphs
from shipgraph.project.bases import parse_base
from shipgraph.project.channels import (
    ChannelSpec,
    Rule,
    RuleKind,
    check_channel_name,
    default_channels,
    default_refs,
    find_channel_problems,
    parse_rule,
)
from shipgraph.project.durations import parse_duration
from shipgraph.project.graph import Graph, ImageSpec, ImageTest
from shipgraph.project.reading import Problem
from shipgraph.project.retention import METADATA, PAYLOAD, RetentionSpec, derive_retention
from shipgraph.project.spec import (
    BuildSpec,
    ExceptionSpec,
    FileRule,
    GateSpec,
    MetadataSpec,
    PayloadSpec,
    Project,
    SigningSpec,
    TransactionSpec,
    VisibilitySpec,
)
from shipgraph.project.workflow import derive_workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from shipgraph.project.config import ChannelTable, FileMapping, ImageTable, ProjectFile, TestTable
    from shipgraph.project.toml_lines import KeyPath

_T = TypeVar("_T")
# Given to every build by shipgraph itself.
OWN_ARGUMENTS: Final = frozenset({"BASE_IMAGE", "SOURCE_DATE_EPOCH"})
_SPDX: Final = re.compile(r"[A-Za-z0-9 ().+:-]+", re.ASCII)


def derive(file: ProjectFile, path: Path, problems: list[Problem]) -> Project | None:
    """The project that a file describes, or None with what is wrong added to ``problems``.

    Args:
        file: what could be read; images that couldn't are missing, and ``problems`` says so.
        path: the absolute path of the file.
    """
    return _Deriver(file, path, problems).derive()


class _Deriver:
    """One reading of one file; every check notes its problem and goes on."""

    def __init__(self, file: ProjectFile, path: Path, problems: list[Problem]) -> None:
        self.file, self.path, self.problems = file, path, problems
        self.folder = path.parent
        self.name = file.project.name

    def derive(self) -> Project | None:
        table = self.file.project
        key: KeyPath = ("project",)
        self.attempt((*key, "registry"), check_host, table.registry)
        if table.namespace is not None:
            self.attempt((*key, "namespace"), lambda text: check_repository(text.lower()), table.namespace)
        if table.licenses is not None and not _SPDX.fullmatch(table.licenses):
            self.note((*key, "licenses"), f"{table.licenses!r} is not an SPDX expression")
        self.attempt((*key, "default-branch"), lambda text: parse_rule(f"push:{text}"), table.default_branch)
        platforms = self.platforms((*key, "platforms"), table.platforms)
        graph = self.graph(platforms)
        payload = self.payload()
        metadata = MetadataSpec(
            self.file.metadata.repository or f"{self.name}-metadata",
            self.file.metadata.artifact_type or f"application/vnd.{self.name}.metadata.v1+json",
            self.attempt(("metadata", "expires-after"), parse_duration, self.file.metadata.expires_after) or 0,
        )
        self.attempt(("metadata", "repository"), check_repository, metadata.repository)
        channels = self.channels()
        signing = self.signing()
        self.check_transaction()
        self.check_repositories(graph, payload, metadata)
        retention = self.retention(graph, payload, metadata)
        workflow = derive_workflow(self.file.workflow, platforms, channels, graph, self.note)
        if self.problems or graph is None:
            return None
        build, transaction = self.file.build, self.file.transaction
        return Project(
            folder=self.folder,
            file=self.path,
            name=self.name,
            platforms=platforms,
            graph=graph,
            metadata=metadata,
            channels=MappingProxyType(channels),
            payload=payload,
            signing=signing,
            evidence=tuple(self.file.evidence.require),
            gate=GateSpec(
                self.file.gate.scanner,
                tuple(
                    ExceptionSpec(one.rule, one.path, one.fingerprint, one.reason, one.expires)
                    for one in self.file.gate.exceptions
                ),
            ),
            build=BuildSpec(build.builder, build.jobs, build.cache),
            transaction=TransactionSpec(
                transaction.lag, transaction.gap, transaction.settle, transaction.margin, transaction.concurrency
            ),
            visibility=VisibilitySpec(self.file.visibility.require),
            retention=retention,
            workflow=workflow,
            description=table.description,
            licenses=table.licenses,
            source=table.source.rstrip("/") if table.source else None,
            registry=table.registry,
            namespace=table.namespace.lower() if table.namespace else None,
            default_branch=table.default_branch,
        )

    def graph(self, platforms: tuple[Platform, ...]) -> Graph | None:
        images: dict[str, ImageSpec] = {}
        for key, table in self.file.images.items():
            image = self.image(key, table, platforms)
            if image is not None:
                images[key] = image
        if any(problem.path[:1] == ("images",) for problem in self.problems):
            return None  # a parent may be among the images that couldn't be read
        scopes: dict[str, str] = {}
        for image in images.values():
            if image.cache_scope in scopes:
                other = scopes[image.cache_scope]
                what = f"images {other} and {image.key} would overwrite each other's cache {image.cache_scope!r}"
                self.note(("images", image.key, "cache-scope"), what)
            scopes[image.cache_scope] = image.key
        found = graphs.find_problems(images)
        for trouble in found:
            self.note(("images", trouble.image, trouble.key), trouble.what, trouble.allowed, trouble.hint)
        return None if found else Graph.of(images.values())

    def image(self, key: str, table: ImageTable, of_project: tuple[Platform, ...]) -> ImageSpec | None:
        before = len(self.problems)
        at: KeyPath = ("images", key)
        if (table.base is None) == (table.parent is None):
            what = "has both `base` and `parent`" if table.base else "has neither `base` nor `parent`"
            self.note(at, f"image {key} {what}", "exactly one of them")
        base = None if table.base is None else self.attempt((*at, "base"), parse_base, table.base)
        platforms = of_project
        if table.platforms is not None:
            platforms = self.platforms((*at, "platforms"), table.platforms)
            if unknown := [str(platform) for platform in platforms if platform not in of_project]:
                allowed = ", ".join(map(str, of_project))
                self.note((*at, "platforms"), f"the project is not built for {', '.join(unknown)}", allowed)
        own = key == self.name or key.startswith(f"{self.name}-")
        repository = table.repository or (key if own else f"{self.name}-{key}")
        self.attempt((*at, "repository"), check_repository, repository)
        for name in table.args:
            if name in OWN_ARGUMENTS:
                self.note((*at, "args", name), f"the build argument {name} is set by shipgraph itself")
        context = self.inside((*at, "context"), table.context, wants_folder=True)
        dockerfile = None
        if context is not None:
            text = table.dockerfile or str(PurePosixPath(context) / "Dockerfile")
            dockerfile = self.inside((*at, "dockerfile" if table.dockerfile else "context"), text, wants_folder=False)
        tests = self.tests((*at, "tests"), table.tests, platforms)
        max_age = None if table.max_age is None else self.attempt((*at, "max-age"), parse_duration, table.max_age)
        timeout = None if table.timeout is None else self.attempt((*at, "timeout"), parse_duration, table.timeout)
        if len(self.problems) > before or context is None or dockerfile is None:
            return None
        return ImageSpec(
            key=key,
            repository=repository,
            context=context,
            dockerfile=dockerfile,
            platforms=platforms,
            cache_scope=table.cache_scope or f"runtime-{key}",
            base=base,
            parent=table.parent,
            args=MappingProxyType(dict(table.args)),
            secrets=table.secrets,
            max_age=max_age,
            timeout=timeout,
            description=table.description,
            labels=MappingProxyType(dict(table.labels)),
            tests=tests,
        )

    def payload(self) -> PayloadSpec | None:
        table = self.file.payload
        if table is None:
            return None
        repository = table.repository or f"{self.name}-payload"
        self.attempt(("payload", "repository"), check_repository, repository)
        files: list[FileRule] = []
        for index, entry in enumerate(table.files):
            files.extend(self.file_rule(("payload", "files", index), entry))
        kind = table.artifact_type or f"application/vnd.{self.name}.payload.v1"
        return PayloadSpec(repository, kind, f"application/vnd.{self.name}.payload.layer.v1+gzip", tuple(files))

    def file_rule(self, at: KeyPath, entry: str | FileMapping) -> list[FileRule]:
        if isinstance(entry, str):
            return [FileRule.of(entry)] if self.is_relative(at, entry) else []
        good = self.is_relative((*at, "from"), entry.from_) and self.is_relative((*at, "to"), entry.to)
        return [FileRule.of(entry.from_, entry.to)] if good else []

    def channels(self) -> dict[str, ChannelSpec]:
        if self.file.channels is None:
            return default_channels(self.file.project.default_branch)
        channels: dict[str, ChannelSpec] = {}
        for name, table in self.file.channels.items():
            at: KeyPath = ("channels", name)
            self.attempt(at, check_channel_name, name)
            rules = self.rules((*at, "on"), table)
            pinned = any(rule.kind is RuleKind.TAG for rule in rules) if table.pinned is None else table.pinned
            channels[name] = ChannelSpec(name, tuple(rules), pinned, self.signer(name, table, rules))
        for name, key, what in find_channel_problems(channels):
            self.note(("channels", name, key) if key else ("channels", name), what)
        return channels

    def signer(self, name: str, table: ChannelTable, rules: list[Rule]) -> SignerRule:
        known = {key.name for key in self.file.signing.keys}
        for index, key in enumerate(table.signer.keys or ()):
            if key not in known:
                what = f"there is no key {key!r} in [[signing.keys]]"
                self.note(("channels", name, "signer", "keys", index), what, ", ".join(sorted(known)))
        branch = self.file.project.default_branch
        refs = default_refs(rules, branch) if table.signer.refs is None else self.refs(table.signer.refs)
        return SignerRule(refs, table.signer.keys)

    def refs(self, texts: Sequence[str]) -> tuple[str, ...]:
        branch = f"refs/heads/{self.file.project.default_branch}"
        return tuple(branch if text == "default-branch" else text for text in texts)

    def signing(self) -> SigningSpec:
        table = self.file.signing
        keys: dict[str, TrustedKey] = {}
        for index, entry in enumerate(table.keys):
            at: KeyPath = ("signing", "keys", index)
            if entry.name in keys:
                self.note((*at, "name"), f"there are two keys {entry.name!r}")
            since, until = self.dates(at, entry.from_, entry.until)
            try:
                keys[entry.name] = TrustedKey.parse(entry.name, entry.public, since=since, until=until)
            except ConfigurationError as error:
                self.note((*at, "public"), str(error).removesuffix(f"; allowed: {error.allowed}"), error.allowed)
        source = self.file.project.source
        identities: list[Identity] = []
        for index, identity in enumerate(table.identities or ()):
            at = ("signing", "identities", index)
            repository = identity.repository or source
            if repository is None:
                self.note(at, "the identity names no repository, and the project no source")
                continue
            since, until = self.dates(at, identity.from_, identity.until)
            identities.append(
                Identity(
                    repository.removesuffix("/").removesuffix(".git"),
                    identity.workflow or "",
                    self.refs(identity.refs),
                    identity.issuer,
                    since,
                    until,
                )
            )
        trust_config = None
        if table.trust_config is not None:
            trust_config = self.inside(("signing", "trust-config"), table.trust_config, wants_folder=False)
        trusted = None if table.identities is None else tuple(identities)
        return SigningSpec(table.by, tuple(keys.values()), trusted, trust_config)

    def dates(self, at: KeyPath, since: date | None, until: date | None) -> tuple[datetime | None, datetime | None]:
        if since is not None and until is not None and until <= since:
            self.note((*at, "until"), "it would end before it begins")
        first, last = (None if day is None else datetime.combine(day, time(), UTC) for day in (since, until))
        return first, last

    def tests(self, at: KeyPath, tables: Sequence[TestTable], of_image: tuple[Platform, ...]) -> tuple[ImageTest, ...]:
        found: list[ImageTest] = []
        for index, table in enumerate(tables):
            here: KeyPath = (*at, index)
            name = table.name or " ".join(table.run)[:100]
            if any(test.name == name for test in found):
                self.note(here, f"two tests are called {name!r}", hint="give one a name of its own")
            if table.expect_output is not None:
                try:
                    re.compile(table.expect_output)
                except re.error as error:
                    self.note((*here, "expect-output"), f"it is not a regular expression: {error}")
            platforms = self.platforms((*here, "platforms"), table.platforms or ())
            if unknown := [str(platform) for platform in platforms if platform not in of_image]:
                self.note((*here, "platforms"), f"the image is not built for {', '.join(unknown)}")
            for place in table.tmpfs:
                if ".." in PurePosixPath(place).parts or ":" in place or "," in place:
                    self.note((*here, "tmpfs"), f"{place!r} is not a plain absolute path")
            profiles = {
                key: None if path is None else self.inside((*here, key), path, wants_folder=False)
                for key, path in (("seccomp", table.seccomp), ("apparmor", table.apparmor))
            }
            found.append(
                ImageTest(
                    name=name,
                    run=table.run,
                    entrypoint=table.entrypoint,
                    expect_exit=table.expect_exit,
                    expect_output=table.expect_output,
                    user=table.user,
                    read_only=table.read_only,
                    tmpfs=table.tmpfs,
                    seccomp=profiles["seccomp"],
                    apparmor=profiles["apparmor"],
                    env=MappingProxyType(dict(table.env)),
                    timeout=self.attempt((*here, "timeout"), parse_duration, table.timeout) or 0,
                    platforms=platforms,
                )
            )
        return tuple(found)

    def rules(self, at: KeyPath, table: ChannelTable) -> list[Rule]:
        texts = [(at, table.on)] if isinstance(table.on, str) else [((*at, i), text) for i, text in enumerate(table.on)]
        found = [self.attempt(place, parse_rule, text) for place, text in texts]
        return [rule for rule in found if rule is not None]

    def check_transaction(self) -> None:
        table = self.file.transaction
        if table.settle is None or (table.lag is None and table.gap is None):
            return
        least = 2 * (table.lag or 0.0) + (table.gap or 0.0)
        if table.settle <= least:
            self.note(
                ("transaction", "settle"), f"settle is {table.settle:g} s", f"more than 2 lag + gap = {least:g} s"
            )

    def check_repositories(self, graph: Graph | None, payload: PayloadSpec | None, metadata: MetadataSpec) -> None:
        """One repository holds one thing: their tags would meet otherwise."""
        taken: dict[str, str] = {}
        places: list[tuple[str, KeyPath, str]] = [
            (image.repository, ("images", image.key, "repository"), f"image {image.key}") for image in graph or ()
        ]
        if payload is not None:
            places.append((payload.repository, ("payload", "repository"), "the payload"))
        places.append((metadata.repository, ("metadata", "repository"), "the metadata"))
        for repository, at, thing in places:
            if repository in taken:
                self.note(at, f"{taken[repository]} and {thing} would share the repository {repository!r}")
            taken[repository] = thing

    def retention(self, graph: Graph | None, payload: PayloadSpec | None, metadata: MetadataSpec) -> RetentionSpec:
        if graph is None:
            return RetentionSpec()  # the images' names are not known
        repositories = {image.key: image.repository for image in graph}
        if payload is not None:
            repositories[PAYLOAD] = payload.repository
        repositories[METADATA] = metadata.repository
        return derive_retention(self.file.retention, self.file.retired, repositories, self.note)

    def platforms(self, at: KeyPath, texts: Sequence[str]) -> tuple[Platform, ...]:
        found: list[Platform] = []
        for index, text in enumerate(texts):
            platform = self.attempt((*at, index), Platform.parse, text)
            if platform in found:
                self.note((*at, index), f"{text} is {platform}, which is given twice")
            elif platform is not None:
                found.append(platform)
        return tuple(found)

    def is_relative(self, at: KeyPath, text: str) -> bool:
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts or "\\" in text:
            self.note(at, f"{text!r} leads out of the project's folder", "a path below it, with / between folders")
            return False
        return True

    def inside(self, at: KeyPath, text: str, *, wants_folder: bool) -> str | None:
        """The path in its one spelling, if it is there and, links resolved, within the project's folder."""
        if not self.is_relative(at, text):
            return None
        place = self.folder / text
        try:
            found = place.resolve(strict=True)
            there = found.is_dir() if wants_folder else found.is_file()
        except (OSError, RuntimeError, ValueError):
            there = False
        thing = "folder" if wants_folder else "file"
        if not there:
            self.note(at, f"there is no {thing} {text!r} in {self.folder}")
            return None
        if not found.is_relative_to(self.folder.resolve()):
            self.note(at, f"{text!r} is a link that leads out of the project's folder", "a path below it")
            return None
        return str(PurePosixPath(text))

    def attempt(self, at: KeyPath, check: Callable[[str], _T], text: str) -> _T | None:
        try:
            return check(text)
        except ConfigurationError as error:
            self.note(at, str(error).removesuffix(f"; allowed: {error.allowed}"), error.allowed, error.hint)
            return None

    def note(self, at: KeyPath, what: str, allowed: str = "", hint: str = "") -> None:
        self.problems.append(Problem(at, what, allowed, hint))
