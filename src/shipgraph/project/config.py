"""What ``shipgraph.toml`` may say: one struct for each table, and the JSON Schema's source.

These are the words of the file, before anything is derived or compared; ``spec`` holds the checked values that the rest
of the program speaks. A key belongs here only if some code honours it.
"""

from __future__ import annotations

from datetime import date  # noqa: TC003 (msgspec reads the annotations)
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from shipgraph.project.durations import DURATION_ALLOWED, DURATION_PATTERN
from shipgraph.project.retention import RetentionTable, RetiredTable
from shipgraph.project.visibility import VisibilityTable
from shipgraph.project.workflow import WorkflowTable

FILE_NAME: Final = "shipgraph.toml"


def _text(
    description: str, *, pattern: str | None = None, allowed: str = "", longest: int | None = None, example: str = ""
) -> Meta:
    """What the schema, the documentation and an error message say about a string."""
    return Meta(
        description=description,
        pattern=pattern,
        min_length=1,
        max_length=longest,
        examples=[example] if example else None,
        extra={"allowed": allowed} if allowed else None,
    )


NAME_PATTERN: Final = "^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$"
KEY_PATTERN: Final = "^[a-z0-9]+(?:[_-]+[a-z0-9]+)*$"
ARGUMENT_PATTERN: Final = "^[A-Za-z_][A-Za-z0-9_]*$"
SECRET_PATTERN: Final = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"  # noqa: S105 (the form of an id, not a secret)
PLATFORM_PATTERN: Final = "^[a-z0-9]+/[a-z0-9]+(?:/[a-z0-9.]+)?$"
MEDIA_TYPE_PATTERN: Final = "^application/[a-z0-9][a-z0-9.+_-]{0,120}$"
SOURCE_PATTERN: Final = "^https://[^/?#@\\s]+/[^?#@\\s]+$"
RULE_PATTERN: Final = "^(?:push:[^\\s:]+|tag:[^\\s:*]*\\*|schedule:\\S+(?: \\S+){4}|dispatch)$"

NAME_ALLOWED: Final = "lower-case letters and digits, with . _ or - between them"
KEY_ALLOWED: Final = "lower-case letters and digits, with _ or - between them"
ARGUMENT_ALLOWED: Final = "letters, digits and _, not a digit first"
SECRET_ALLOWED: Final = "letters, digits, . _ and -"  # noqa: S105
RULE_ALLOWED: Final = '"push:BRANCH", "schedule:CRON", "tag:PREFIX*" or "dispatch"'

PlatformText = Annotated[
    str,
    _text(
        "A platform as os/arch[/variant].", pattern=PLATFORM_PATTERN, allowed="os/arch[/variant]", example="linux/amd64"
    ),
]
RuleText = Annotated[
    str,
    _text("What starts a release to the channel.", pattern=RULE_PATTERN, allowed=RULE_ALLOWED, example="push:main"),
]
SecretId = Annotated[
    str, _text("The id of a build secret.", pattern=SECRET_PATTERN, allowed=SECRET_ALLOWED, longest=64, example="npmrc")
]
ArgumentName = Annotated[
    str, _text("The name of a build argument.", pattern=ARGUMENT_PATTERN, allowed=ARGUMENT_ALLOWED, longest=128)
]
ImageKey = Annotated[
    str, _text("The image's key in this file.", pattern=KEY_PATTERN, allowed=KEY_ALLOWED, longest=64, example="base")
]
ChannelName = Annotated[
    str,
    _text(
        "The channel's name: the moving tag of every image.",
        pattern="^[a-z][a-z0-9._-]*$",
        allowed="lower-case letters, digits, . _ and -, a letter first, at most 40 characters",
        longest=40,
        example="dev",
    ),
]
KeyName = Annotated[
    str, _text("The name of a key.", pattern=KEY_PATTERN, allowed=KEY_ALLOWED, longest=64, example="release")
]
EvidenceKind = Literal["gate", "test", "provenance"]
Seconds = Annotated[float, Meta(ge=0, le=3600)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """What all tables share: unknown keys are refused, names are written with hyphens."""


class ProjectTable(_Table, frozen=True, kw_only=True):
    """Who the project is and where its release goes."""

    name: Annotated[
        str,
        _text(
            "The project's name; repositories, media types and file names are derived from it.",
            pattern=NAME_PATTERN,
            allowed=NAME_ALLOWED,
            longest=64,
            example="containai",
        ),
    ]
    platforms: Annotated[
        tuple[PlatformText, ...],
        Meta(description="The platforms every image is built for, unless it says otherwise.", min_length=1),
    ]
    description: (
        Annotated[str, _text("One sentence about the project, for the images' labels.", longest=512)] | None
    ) = None
    licenses: (
        Annotated[str, _text("The images' licences as an SPDX expression.", longest=256, example="Apache-2.0")] | None
    ) = None
    source: (
        Annotated[
            str,
            _text(
                "The https address of the source repository; by default the running repository's, or the git remote's.",
                pattern=SOURCE_PATTERN,
                allowed="https://HOST/PATH without credentials, query or fragment",
                longest=512,
                example="https://github.com/acme/containai",
            ),
        ]
        | None
    ) = None
    registry: Annotated[
        str, _text("The registry's HOST or HOST:PORT.", allowed="HOST or HOST:PORT, without a scheme", longest=255)
    ] = "ghcr.io"
    namespace: (
        Annotated[
            str,
            _text(
                "What stands between host and repository; by default the source repository's owner, lower case.",
                allowed="lower-case letters and digits, with . _ or - between them, parts split by /",
                longest=128,
                example="acme",
            ),
        ]
        | None
    ) = None
    default_branch: Annotated[str, _text("The branch that `dev` follows where no channels are given.", longest=200)] = (
        "main"
    )


class TestTable(_Table, frozen=True, kw_only=True):
    """One test of an image: a command that is run in the pushed image, on each platform that can run here."""

    run: Annotated[
        tuple[Annotated[str, Meta(max_length=65536)], ...],
        Meta(
            description="The arguments that the image is started with; its entry point stays, as with `docker run`.",
            min_length=1,
        ),
    ]
    name: Annotated[str, _text("The test's name; by default the command.", longest=100)] | None = None
    entrypoint: (
        Annotated[tuple[str, ...], Meta(description="Replaces the image's entry point; [] for none.")] | None
    ) = None
    expect_exit: Annotated[int, Meta(description="The exit code that it must have.", ge=0, le=255)] = 0
    expect_output: (
        Annotated[str, _text("A regular expression that must be found in its output.", longest=2048)] | None
    ) = None
    user: (
        Annotated[
            str,
            _text(
                "The user that it runs as: `USER[:GROUP]`, names or numbers.",
                pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?$",
                allowed="USER or USER:GROUP",
                longest=100,
            ),
        ]
        | None
    ) = None
    read_only: Annotated[bool, Meta(description="Whether the root file system is read-only.")] = False
    tmpfs: Annotated[
        tuple[Annotated[str, _text("An absolute path.", pattern="^/", allowed="an absolute path", longest=512)], ...],
        Meta(description="Folders that are empty file systems in memory."),
    ] = ()
    seccomp: (
        Annotated[str, _text("A seccomp profile in Docker's format, relative to this file.", longest=512)] | None
    ) = None
    apparmor: Annotated[str, _text("An AppArmor profile, relative to this file.", longest=512)] | None = None
    env: Annotated[
        dict[ArgumentName, Annotated[str, Meta(max_length=65536)]], Meta(description="Environment variables.")
    ] = {}
    timeout: Annotated[
        str,
        _text("The longest it may take.", pattern=DURATION_PATTERN, allowed=DURATION_ALLOWED, example="60s"),
    ] = "60s"
    platforms: (
        Annotated[tuple[PlatformText, ...], Meta(description="Only on these of the image's platforms.", min_length=1)]
        | None
    ) = None


class ImageTable(_Table, frozen=True, kw_only=True):
    """One image: a node of the graph. Exactly one of `base` and `parent` is given."""

    context: Annotated[
        str,
        _text("The build context: a folder, relative to this file.", longest=512, example="docker/base"),
    ]
    dockerfile: (
        Annotated[str, _text("The Dockerfile, relative to this file; by default CONTEXT/Dockerfile.", longest=512)]
        | None
    ) = None
    base: (
        Annotated[
            str,
            _text(
                "The external image it is built from, given to the build as BASE_IMAGE: a reference, `mmdebstrap:SUITE`"
                " with `?variant=` and `&include=`, or `scratch`.",
                longest=1024,
                example="debian:bookworm-slim",
            ),
        ]
        | None
    ) = None
    parent: (
        Annotated[
            str,
            _text(
                "The key of the image it is built from, given to the build as BASE_IMAGE by digest.",
                pattern=KEY_PATTERN,
                allowed=KEY_ALLOWED,
                longest=64,
                example="base",
            ),
        ]
        | None
    ) = None
    repository: (
        Annotated[
            str,
            _text(
                "The image's repository, below the namespace; by default the key, with the project's name before it.",
                allowed="lower-case letters, digits, and single . _ - between them, parts split by /",
                longest=128,
            ),
        ]
        | None
    ) = None
    args: Annotated[
        dict[ArgumentName, str],
        Meta(description="Build arguments. BASE_IMAGE and SOURCE_DATE_EPOCH are set by shipgraph."),
    ] = {}
    secrets: Annotated[
        tuple[SecretId, ...],
        Meta(description="Ids of the secrets that the build may mount; values are given on the machine, never here."),
    ] = ()
    platforms: (
        Annotated[tuple[PlatformText, ...], Meta(description="Only these of the project's platforms.", min_length=1)]
        | None
    ) = None
    cache_scope: (
        Annotated[
            str,
            _text(
                "The name of the image's build cache; by default `runtime-KEY`.",
                pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
                allowed="letters, digits, . _ and -",
                longest=100,
            ),
        ]
        | None
    ) = None
    max_age: (
        Annotated[
            str,
            _text(
                "After this time the image is rebuilt even if nothing changed.",
                pattern=DURATION_PATTERN,
                allowed=DURATION_ALLOWED,
                example="14d",
            ),
        ]
        | None
    ) = None
    timeout: (
        Annotated[
            str,
            _text(
                "The longest a build of one platform may take.",
                pattern=DURATION_PATTERN,
                allowed=DURATION_ALLOWED,
                example="45m",
            ),
        ]
        | None
    ) = None
    description: Annotated[str, _text("One sentence about the image, for its labels.", longest=512)] | None = None
    labels: Annotated[dict[str, str], Meta(description="More labels of the image.")] = {}
    tests: Annotated[tuple[TestTable, ...], Meta(description="What is run in the image before tags move.")] = ()


class FileMapping(_Table, frozen=True, kw_only=True):
    """Files of the payload that go into a folder of their own."""

    from_: Annotated[
        str, _text("A pattern of files, relative to this file.", longest=512, example="docker/profiles/*")
    ] = msgspec.field(name="from")
    to: Annotated[str, _text("The folder in the payload.", longest=512, example="profiles")]


class PayloadTable(_Table, frozen=True, kw_only=True):
    """The payload: files that are shipped beside the images, as one archive."""

    files: Annotated[
        tuple[Annotated[str, _text("A pattern of files, relative to this file.", longest=512)] | FileMapping, ...],
        Meta(
            description="Patterns of files. A pattern's leading folder without wildcards is stripped: `payload/**` puts"
            " what is in `payload` at the archive's root.",
            min_length=1,
        ),
    ]
    repository: Annotated[str, _text("The payload's repository; by default NAME-payload.", longest=128)] | None = None
    artifact_type: (
        Annotated[
            str,
            _text(
                "The artifact's type; by default application/vnd.NAME.payload.v1.",
                pattern=MEDIA_TYPE_PATTERN,
                allowed="application/…",
            ),
        ]
        | None
    ) = None


class MetadataTable(_Table, frozen=True, kw_only=True):
    """The channels' metadata: what a consumer reads to find a release."""

    repository: Annotated[str, _text("The metadata's repository; by default NAME-metadata.", longest=128)] | None = None
    artifact_type: (
        Annotated[
            str,
            _text(
                "The artifact's type; by default application/vnd.NAME.metadata.v1+json.",
                pattern=MEDIA_TYPE_PATTERN,
                allowed="application/…",
            ),
        ]
        | None
    ) = None
    expires_after: Annotated[
        str,
        _text(
            "How long a channel's metadata is valid unless refreshed.",
            pattern=DURATION_PATTERN,
            allowed=DURATION_ALLOWED,
            example="30d",
        ),
    ] = "30d"


class SignerTable(_Table, frozen=True, kw_only=True):
    """Who may sign a channel's metadata, among those whom `[signing]` trusts."""

    refs: (
        Annotated[
            tuple[
                Annotated[
                    str,
                    _text(
                        "A git ref of the workflow's run; * stands for any characters; or `default-branch`.",
                        pattern="^(?:refs/[^\\s~^:?\\[\\\\]+|default-branch)$",
                        allowed="refs/… or default-branch",
                        longest=250,
                    ),
                ],
                ...,
            ],
            Meta(description="Refs at which the workflow may have run.", min_length=1),
        ]
        | None
    ) = None
    keys: Annotated[tuple[KeyName, ...], Meta(description="Names of keys; by default every trusted key.")] | None = None


class ChannelTable(_Table, frozen=True, kw_only=True):
    """One channel, and what starts a release to it."""

    # Only the array's elements have their pattern here: msgspec 0.22 corrupts memory on a union of a string with a
    # pattern and an array. `channels.parse_rule` checks both, and `schema` adds the pattern.
    on: Annotated[
        Annotated[str, Meta(min_length=1)] | Annotated[tuple[RuleText, ...], Meta(min_length=1)],
        Meta(description="The rule or rules that start a release to the channel: " + RULE_ALLOWED + "."),
    ]
    pinned: (
        Annotated[
            bool,
            Meta(
                description="Whether every external base must be pinned by digest; by default true for a channel with a"
                " tag rule, false for others."
            ),
        ]
        | None
    ) = None
    signer: SignerTable = SignerTable()


class SigningKeyTable(_Table, frozen=True, kw_only=True):
    """A public key that is trusted, and when."""

    name: KeyName
    public: Annotated[
        str,
        _text(
            "The public key: base64 of its DER form (SubjectPublicKeyInfo), ECDSA on P-256.",
            allowed="base64, as `shipgraph attest --print-key` shows it",
            longest=1000,
        ),
    ]
    from_: Annotated[date, Meta(description="The first day on which it counts (UTC).")] | None = msgspec.field(
        name="from", default=None
    )
    until: Annotated[date, Meta(description="The first day on which it no longer counts (UTC).")] | None = None


class IdentityTable(_Table, frozen=True, kw_only=True):
    """A workflow whose keyless signatures are trusted, and when."""

    repository: (
        Annotated[
            str,
            _text(
                "The repository's https address; by default the project's source.",
                pattern=SOURCE_PATTERN,
                allowed="https://HOST/OWNER/REPOSITORY",
                longest=512,
            ),
        ]
        | None
    ) = None
    workflow: (
        Annotated[
            str,
            _text(
                "The workflow's file; by default any of the repository.",
                longest=512,
                example=".github/workflows/release.yml",
            ),
        ]
        | None
    ) = None
    refs: Annotated[
        tuple[
            Annotated[str, _text("A git ref, * for any characters; or `default-branch`.", longest=250)],
            ...,
        ],
        Meta(description="Refs at which it may run; they should be protected.", min_length=1),
    ] = ("default-branch", "refs/tags/*")
    issuer: Annotated[str, _text("Who issued the token.", pattern="^https://", allowed="https://…", longest=512)] = (
        "https://token.actions.githubusercontent.com"
    )
    from_: Annotated[date, Meta(description="The first day on which it counts (UTC).")] | None = msgspec.field(
        name="from", default=None
    )
    until: Annotated[date, Meta(description="The first day on which it no longer counts (UTC).")] | None = None


class SigningTable(_Table, frozen=True, kw_only=True):
    """Who signs, and whose signatures are trusted."""

    by: Annotated[
        Literal["auto", "key", "keyless"],
        Meta(
            description="What a release is signed with: `keyless`, a certificate of Sigstore for the workflow's token;"
            " `key`, a key of one's own; `auto`, keyless where there is a token, else a key."
        ),
    ] = "auto"
    keys: Annotated[tuple[SigningKeyTable, ...], Meta(description="Public keys that are trusted.")] = ()
    identities: (
        Annotated[
            tuple[IdentityTable, ...],
            Meta(description="Workflows that are trusted; by default those of the project's source repository."),
        ]
        | None
    ) = None
    trust_config: (
        Annotated[
            str,
            _text(
                "A Sigstore client trust configuration (JSON), relative to this file, for authorities other than the"
                " public ones.",
                longest=512,
            ),
        ]
        | None
    ) = None


class EvidenceTable(_Table, frozen=True, kw_only=True):
    """What must be proven about every image before tags move."""

    require: Annotated[
        tuple[EvidenceKind, ...],
        Meta(description="The kinds of evidence without which a release is refused; by default all of them."),
    ] = ("gate", "test", "provenance")


class ExceptionTable(_Table, frozen=True, kw_only=True):
    """A finding of the secret gate that somebody has looked at and accepted. Rule, path and fingerprint must match."""

    rule: Annotated[str, _text("The rule's id, as the gate prints it.", longest=200, example="betterleaks.private-key")]
    path: Annotated[
        str,
        _text(
            "The file's path as the gate prints it; `*` and `?` stand for any characters.",
            longest=1024,
            example="usr/share/doc/*/examples/server.key",
        ),
    ]
    fingerprint: Annotated[
        str,
        _text(
            "The secret's fingerprint, as the gate prints it.",
            pattern="^[0-9a-f]{12}$",
            allowed="twelve hexadecimal digits",
            example="a8f923f1941c",
        ),
    ]
    reason: Annotated[str, _text("Why it is harmless; it is part of the signed verdict.", longest=500)]
    expires: Annotated[
        date,
        Meta(description="The last day on which the exception holds; after it the finding refuses the release again."),
    ]


class GateTable(_Table, frozen=True, kw_only=True):
    """The secret gate: every image and the payload are scanned before anything is public."""

    scanner: Annotated[
        Literal["kingfisher", "trivy"],
        Meta(
            description="The scanner: `kingfisher` runs in this process; `trivy` is a command on PATH, reads images"
            " itself, and finds less."
        ),
    ] = "kingfisher"
    exceptions: Annotated[tuple[ExceptionTable, ...], Meta(description="Findings that were accepted.")] = ()


class BuildTable(_Table, frozen=True, kw_only=True):
    """How images are built."""

    builder: Annotated[
        Literal["auto", "buildx", "buildah"],
        Meta(description="The builder; `auto` takes docker buildx if it is there, else buildah."),
    ] = "auto"
    jobs: (
        Annotated[
            int,
            Meta(description="How many builds run at the same time; by default as many as processors.", ge=1, le=256),
        ]
        | None
    ) = None
    cache: Annotated[
        Literal["auto", "local", "registry", "none"],
        Meta(
            description="Where the builders' layers are cached: `local` in their own storage on this machine; `auto`,"
            " the default, also in the GitHub Actions cache where a job offers it; `registry` also in NAME-cache/SCOPE"
            " of the target registry; `none` runs every step."
        ),
    ] = "auto"


class TransactionTable(_Table, frozen=True, kw_only=True):
    """What to assume of the registry while tags move; the defaults fit GHCR and ordinary registries."""

    lag: (
        Annotated[Seconds, Meta(description="Seconds for which a read may still show the value before the last write.")]
        | None
    ) = None
    gap: Annotated[Seconds, Meta(description="The longest time, in seconds, a claim's write may take.")] | None = None
    settle: (
        Annotated[Seconds, Meta(description="Seconds to wait before a claim is read back; more than 2 lag + gap.")]
        | None
    ) = None
    margin: (
        Annotated[Seconds, Meta(description="Seconds after which a write that timed out can't land any more.")] | None
    ) = None
    concurrency: (
        Annotated[int, Meta(description="How many tags are written at the same time.", ge=1, le=256)] | None
    ) = None


class ProjectFile(_Table, frozen=True, kw_only=True):
    """A project that shipgraph ships: a graph of container images, a payload and channel metadata, as one release."""

    project: ProjectTable
    images: Annotated[
        dict[ImageKey, ImageTable], Meta(description="The images, by key: the nodes of the build graph.", min_length=1)
    ]
    payload: PayloadTable | None = None
    metadata: MetadataTable = MetadataTable()
    channels: (
        Annotated[
            dict[ChannelName, ChannelTable],
            Meta(
                description="The channels; by default `dev` on a push to the default branch, `nightly` daily at 06:00"
                " UTC, and `prod` on a tag `v*`.",
                min_length=1,
            ),
        ]
        | None
    ) = None
    evidence: EvidenceTable = EvidenceTable()
    gate: GateTable = GateTable()
    signing: SigningTable = SigningTable()
    build: BuildTable = BuildTable()
    transaction: TransactionTable = TransactionTable()
    visibility: VisibilityTable = VisibilityTable()
    retention: RetentionTable = RetentionTable()
    retired: RetiredTable = RetiredTable()
    workflow: WorkflowTable = WorkflowTable()
