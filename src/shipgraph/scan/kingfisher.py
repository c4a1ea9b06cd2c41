"""Kingfisher's SDK in this process, with rules of our own for what it misses.

Scanning is all that is used of it: its classes that try a secret out at its provider, or revoke it there, are never
imported, so nothing that is found leaves the machine.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from shipgraph.errors import Refused, ShipgraphError
from shipgraph.scan.finding import CONFIGURATION, Hit
from shipgraph.scan.known import KNOWN
from shipgraph.scan.scanner import is_code
from shipgraph.scan.severity import Severity, of_confidence

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE: Final = "kingfisher-secret-scanner"
REVISION: Final = 1
"""Of the judgements in this file and of the scanner's options; a new one makes remembered results worthless."""
AWS_SECRET: Final = "betterleaks.aws-secret-access-key"  # noqa: S105 (a rule's name)
LOGIN: Final = "shipgraph.docker-config-auth"
PASSWORDS: Final = frozenset({"shipgraph.password", "shipgraph.password-variable"})
_CRITICAL: Final = frozenset({LOGIN, AWS_SECRET, "shipgraph.twilio-auth-token"})
_SETTINGS: Final = frozenset(
    {".env", ".ini", ".cfg", ".conf", ".cnf", ".config", ".properties", ".yml", ".yaml", ".toml", ".json", ".xml"}
)
# Documentation, and code that handles passwords, is full of what looks like one.
_PLACEHOLDER: Final = re.compile(r"(?i)example|changeme|change[-_]me|your|dummy|placeholder|xxx|\*\*\*")
_WORDS: Final = re.compile(r"(?i)pass|secret|test|foo|bar|1234")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The SDK's objects: a scanner that looks into base64, one that doesn't, the type of what they scan."""

    decoding: Any
    plain: Any
    new_input: Any
    rules: int


class Kingfisher:
    """A ``ContentScanner``. ``cache`` is the folder of its compiled rules: 5 s the first time, 0.5 s from then on."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def name(self) -> str:
        """See ``ContentScanner``.

        Raises:
            Refused: it is not installed.
        """
        return f"kingfisher {_version()}"

    @property
    def version(self) -> str:
        """See ``ContentScanner``: the SDK's version with its built-in rules, our rules, and our judgement of hits."""
        own = hashlib.sha256(_own_rules().read_bytes() + repr(sorted(KNOWN)).encode()).hexdigest()[:16]
        return f"{self.name}+{own}.{REVISION}"

    def rules(self) -> int:
        """See ``ContentScanner``."""
        return self._load().rules

    def scan(self, path: str, data: bytes) -> list[Hit]:
        """See ``ContentScanner``."""
        loaded = self._load()
        # Looking for base64 takes longer than all rules together, and machine code is full of what looks like it.
        scanner = loaded.plain if is_code(data) else loaded.decoding
        try:
            found = scanner.scan_input(loaded.new_input(path, data))
        except Exception as error:  # the SDK raises what it likes; its text may hold content, so only the kind is told
            raise ShipgraphError(f"kingfisher failed on a file ({type(error).__name__})") from None
        hits: list[Hit] = []
        for finding in found:
            if finding.visible or finding.rule_id == AWS_SECRET:
                hit = _judge(path, finding)
                if hit is not None:
                    hits.append(hit)
        return hits

    def _load(self) -> _Loaded:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._loaded = self._read()
        return self._loaded

    def _read(self) -> _Loaded:
        _version()
        # Imported here: 36 MB, and only what scans needs it.
        from kingfisher_sdk import DetectionPolicy, Rules, ScanInput, Scanner

        if self._cache is not None:
            self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with resources.as_file(_own_rules()) as own:
            rules = Rules([own], cache=self._cache is not None, cache_dir=self._cache)
        # Comments in a file can't switch the scanner off: an exception has a reason and an end.
        policy = DetectionPolicy(inline_ignores=False, markup_context=False)
        count = len(rules)
        if not count:
            raise Refused("kingfisher has no rules, so it would find nothing", hint="install it again")
        return _Loaded(Scanner(rules, policy=policy), Scanner(rules, policy=policy, base64=False), ScanInput, count)


def _version() -> str:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise Refused(
            "the secret scanner is not installed, and nothing passes a gate without one", hint=f"pip install {PACKAGE}"
        ) from None


def _own_rules() -> Any:
    return resources.files("shipgraph.scan") / "rules.yml"


def _judge(path: str, finding: Any) -> Hit | None:
    """A native finding on our scale; None where it only looks like one."""
    rule, secret, severity = finding.rule_id, finding.secret, of_confidence(finding.confidence)
    if rule == LOGIN and not _is_login(secret):
        return None
    if rule in _CRITICAL:
        severity = Severity.CRITICAL
    elif rule in PASSWORDS:
        settings = _is_settings(path) or finding.is_base64_encoded  # documentation encodes nothing
        if not _is_password(secret, strict=not settings):
            return None
        severity = Severity.HIGH if settings else Severity.MEDIUM
    return Hit(
        rule=rule,
        title=_title(finding.rule_name),
        severity=severity,
        confidence=finding.confidence,
        secret=secret,
        line=int(finding.location.get("line", 0)),
        encoded=bool(finding.is_base64_encoded),
    )


def _title(name: str) -> str:
    """A rule's name without the advice that some carry after a comma."""
    return name.split(",", 1)[0].rstrip(".")[:100]


def _is_login(secret: str) -> bool:
    """``auth`` is the base64 of ``user:password`` (or a token as it is, for the other two keys)."""
    if secret.startswith("eyJ") or len(secret) > 128:
        return True
    try:
        plain = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in plain and all(32 <= byte < 127 for byte in plain)


def _is_password(secret: str, *, strict: bool) -> bool:
    """Whether it looks chosen: several kinds of characters, and no placeholder; in code also none of its words."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda letter: not letter.isalnum())
    used = sum(any(map(kind, secret)) for kind in kinds)
    if used < (3 if strict else 2) or _PLACEHOLDER.search(secret) or (strict and _WORDS.search(secret)):
        return False
    return not secret.startswith(("/", "./", "http:", "https:", "--")) and len(set(secret)) >= 6


def _is_settings(path: str) -> bool:
    """Whether a file (or a part of an image's configuration) holds settings, not code or documentation."""
    if path.startswith(CONFIGURATION):
        return True
    name = PurePosixPath(path.rpartition("!")[2])
    return name.suffix.lower() in _SETTINGS or name.name.lower().startswith((".env", ".my.cnf", ".pgpass", ".netrc"))
