"""The table ``[workflow]``: how the project's releases run in GitHub Actions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from shipgraph.errors import ConfigurationError
from shipgraph.project.channels import RuleKind, parse_rule
from shipgraph.project.durations import DURATION_ALLOWED, DURATION_PATTERN, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shipgraph.oci.platform import Platform
    from shipgraph.project.channels import ChannelSpec
    from shipgraph.project.graph import Graph
    from shipgraph.project.toml_lines import KeyPath

FILE: Final = "build-runtime-images.yml"
REFRESH: Final = "30 4 * * *"
"""When channels are refreshed where none has a schedule of its own; cron, UTC."""
RUNNERS: Final = MappingProxyType({"linux/amd64": "ubuntu-24.04", "linux/arm64": "ubuntu-24.04-arm"})
"""GitHub's own runners; both are native, so nothing is emulated."""
MINUTES: Final = MappingProxyType(
    {"build": 90, "test": 45, "payload": 30, "finalize": 45, "prune": 120, "rehearse": 180, "other": 20}
)
"""The longest each kind of job may run, in minutes; ``other`` is every kind that is not named."""
LONGEST: Final = 5 * 24 * 60  # a job's limit on a runner of one's own; GitHub's are stopped after six hours

_ACTION: Final = re.compile(
    r"\.(?:/[A-Za-z0-9_.-]+)*/?|[A-Za-z0-9-]+/[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_./-]+)?@[0-9a-f]{40}"
)
_RELEASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)

Label = Annotated[
    str,
    Meta(
        description="A runner's label.",
        pattern="^[A-Za-z0-9_.-]+$",
        min_length=1,
        max_length=100,
        extra={"allowed": "letters, digits, . _ and -"},
    ),
]
EnvironmentName = Annotated[
    str,
    Meta(
        description="The name of an environment of the repository.",
        pattern="^[A-Za-z0-9_.-]+$",
        min_length=1,
        max_length=100,
        extra={"allowed": "letters, digits, . _ and -"},
    ),
]
SecretName = Annotated[
    str,
    Meta(
        description="The name of a secret of the repository.",
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        min_length=1,
        max_length=100,
        extra={"allowed": "letters, digits and _, not a digit first"},
    ),
]
Duration = Annotated[
    str,
    Meta(
        description="The longest that it may take.",
        pattern=DURATION_PATTERN,
        min_length=1,
        extra={"allowed": DURATION_ALLOWED},
    ),
]


class WorkflowTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The GitHub Actions workflow that `shipgraph workflow` writes."""

    file: Annotated[
        str,
        Meta(
            description="The file's name in `.github/workflows`.",
            pattern="^[A-Za-z0-9_-][A-Za-z0-9_.-]*\\.ya?ml$",
            min_length=1,
            max_length=100,
            extra={"allowed": "a name that ends with .yml"},
        ),
    ] = FILE
    action: (
        Annotated[
            str,
            Meta(
                description="shipgraph's action: `OWNER/REPOSITORY@COMMIT`, 40 hexadecimal digits, or a folder of this"
                " repository, `./FOLDER`. By default the repository's own, where that is shipgraph itself.",
                min_length=1,
                max_length=300,
                examples=["acme/shipgraph@0123456789abcdef0123456789abcdef01234567"],
            ),
        ]
        | None
    ) = None
    action_version: (
        Annotated[
            str,
            Meta(description="The release that the action's commit is, for a comment.", min_length=1, max_length=64),
        ]
        | None
    ) = None
    repository: (
        Annotated[
            str,
            Meta(
                description="The one repository that publishes, OWNER/NAME; others rehearse. By default every"
                " repository that is no fork.",
                pattern="^[A-Za-z0-9-]+/[A-Za-z0-9_.-]+$",
                min_length=1,
                max_length=140,
                extra={"allowed": "OWNER/NAME"},
            ),
        ]
        | None
    ) = None
    runner: Annotated[str, Meta(description="The label of the runner of all jobs that build and run no image.")] = (
        RUNNERS["linux/amd64"]
    )
    runners: Annotated[
        dict[str, Label],
        Meta(description="The label of a platform's runner, by platform; it must be that platform's own machine."),
    ] = {}
    environments: Annotated[
        dict[str, EnvironmentName],
        Meta(description="By channel: the environment whose rules (approval, say) come before its tags move."),
    ] = {}
    secrets: Annotated[
        dict[str, SecretName],
        Meta(description="By the id of a build secret: the secret of the repository that holds it."),
    ] = {}
    timeouts: Annotated[
        dict[str, Duration],
        Meta(
            description="The longest that jobs may run, by kind: `build`, `test`, `payload`, `finalize`, `prune`,"
            " `rehearse`, or `other`."
        ),
    ] = {}
    refresh: (
        Annotated[
            str,
            Meta(
                description="When channels that expire soon are refreshed, as a cron expression in UTC; by default with"
                " each scheduled release, or daily where no channel has a schedule.",
                min_length=1,
                max_length=100,
            ),
        ]
        | None
    ) = None


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """The workflow, checked.

    ``action`` None for the repository's own; ``repository`` None for any that is no fork; ``runners`` has a label for
    every platform of the project that is known; ``minutes`` for every kind of job; ``refresh`` a cron expression of its
    own, or None where a channel's schedule does.
    """

    file: str = FILE
    action: str | None = None
    action_version: str = ""
    repository: str | None = None
    runner: str = RUNNERS["linux/amd64"]
    runners: Mapping[str, str] = field(default_factory=lambda: RUNNERS, hash=False)
    environments: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    secrets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    minutes: Mapping[str, int] = field(default_factory=lambda: MINUTES, hash=False)
    refresh: str | None = None


def derive_workflow(
    table: WorkflowTable,
    platforms: Iterable[Platform],
    channels: Mapping[str, ChannelSpec],
    graph: Graph | None,
    note: Callable[[KeyPath, str, str], None],
) -> WorkflowSpec:
    """Check the table.

    Args:
        graph: None where the images could not be read.
        note: takes the place of a problem, what it is, and what is allowed.
    """
    if table.action is not None and (not _ACTION.fullmatch(table.action) or ".." in table.action.split("/")):
        note(
            ("workflow", "action"),
            f"{table.action!r} is no action at a commit",
            "OWNER/REPOSITORY@COMMIT with 40 hexadecimal digits, or ./FOLDER",
        )
    if table.action_version is not None and not _RELEASE.fullmatch(table.action_version):
        note(("workflow", "action-version"), f"{table.action_version!r} is no version", "letters, digits, . _ + and -")
    known = [str(platform) for platform in platforms]
    for text in table.runners:
        if text not in known:
            note(("workflow", "runners", text), f"the project is not built for {text}", ", ".join(known))
    for channel in table.environments:
        if channel not in channels:
            note(("workflow", "environments", channel), f"there is no channel {channel!r}", ", ".join(channels))
    declared = None if graph is None else dict.fromkeys(name for image in graph for name in image.secrets)
    for name in table.secrets:
        if declared is not None and name not in declared:
            note(("workflow", "secrets", name), f"no image declares a secret {name!r}", ", ".join(declared))
    return WorkflowSpec(
        file=table.file,
        action=table.action,
        action_version=table.action_version or "",
        repository=table.repository,
        runner=table.runner,
        runners=MappingProxyType({**RUNNERS, **table.runners}),
        environments=MappingProxyType(dict(table.environments)),
        secrets=MappingProxyType(dict(table.secrets)),
        minutes=_minutes(table, note),
        refresh=_refresh(table, channels, note),
    )


def _minutes(table: WorkflowTable, note: Callable[[KeyPath, str, str], None]) -> Mapping[str, int]:
    minutes = dict(MINUTES)
    for kind, text in table.timeouts.items():
        if kind not in MINUTES:
            note(("workflow", "timeouts", kind), f"there is no kind of job {kind!r}", ", ".join(MINUTES))
            continue
        seconds = parse_duration(text)  # the table's pattern has checked it
        minutes[kind] = -(-seconds // 60)
        if minutes[kind] > LONGEST:
            note(("workflow", "timeouts", kind), f"{text} is longer than any job may run", "5 days")
    return MappingProxyType(minutes)


def _refresh(
    table: WorkflowTable, channels: Mapping[str, ChannelSpec], note: Callable[[KeyPath, str, str], None]
) -> str | None:
    schedules = [rule.value for spec in channels.values() for rule in spec.rules if rule.kind is RuleKind.SCHEDULE]
    wanted = table.refresh
    if wanted is None:
        return None if schedules else REFRESH
    try:
        parse_rule(f"schedule:{wanted}")
    except ConfigurationError as error:
        note(("workflow", "refresh"), str(error).removesuffix(f"; allowed: {error.allowed}"), error.allowed)
    return None if wanted in schedules else wanted
