"""The texts of an image that are in no layer: its configuration, and the manifest's annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shipgraph.errors import MalformedDocument
from shipgraph.scan.finding import CONFIGURATION, Finding
from shipgraph.scan.scanner import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.scan.scanner import ContentScanner

DEPTH = 32


def scan_configuration(scanner: ContentScanner, manifest: ImageManifest, config: bytes) -> Report:
    """Scan ENV, labels, history, entry point and all other texts. Computes.

    Raises:
        MalformedDocument: the configuration is not JSON.
    """
    texts = [*_texts(_parse(manifest.raw), ""), *_texts(_parse(config), "")]
    findings: set[Finding] = set()
    for place, text in texts:
        path = f"{CONFIGURATION} {place}"
        findings.update(Finding.of(hit, path) for hit in scanner.scan(path, text.encode("utf-8", "backslashreplace")))
    size = sum(len(text) for _, text in texts)
    return Report(str(manifest.digest), scanner.rules(), len(texts), size, tuple(sorted(findings)))


def _parse(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"an image's configuration is not JSON: {error}") from None


def _texts(value: Any, place: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every text with its place: ``config.Env NAME``, ``config.Labels KEY``, ``history[2].created_by``."""
    if depth > DEPTH:
        raise MalformedDocument("an image's configuration is nested too deeply")
    match value:
        case str() if place.endswith("Env[]"):
            yield f"{place.removesuffix('[]')} {value.partition('=')[0][:80]}", value + "\n"
        case str():
            yield place.removesuffix("[]"), value
        case dict():
            for key, inner in value.items():
                if isinstance(inner, str) and place.endswith(("Labels", "annotations")):
                    yield f"{place} {key[:80]}", f"{key}={inner}\n"
                else:
                    yield from _texts(inner, f"{place}.{key[:80]}" if place else key[:80], depth + 1)
        case list() if all(isinstance(inner, str) for inner in value) and not place.endswith("Env"):
            yield place, " ".join(value)  # a command's words belong together
        case list():
            for position, inner in enumerate(value):
                at = f"{place}[]" if isinstance(inner, str) else f"{place}[{position}]"
                yield from _texts(inner, at, depth + 1)
        case _:
            pass
