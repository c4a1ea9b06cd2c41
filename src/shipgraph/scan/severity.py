"""One scale for all scanners; docs/reference/gate.md holds the same tables.

What fails is HIGH and CRITICAL. A scanner's own word is never passed on untranslated:

==============  ==============================================================  ========
scanner         its grade                                                       ours
==============  ==============================================================  ========
kingfisher      confidence high (the form of the secret is unmistakable)        CRITICAL
kingfisher      confidence medium                                               HIGH
kingfisher      confidence low                                                  LOW
shipgraph       registry login, Twilio token, AWS secret key                    CRITICAL
shipgraph       a password in the image's configuration, a settings file, or    HIGH
                base64
shipgraph       a password anywhere else                                        MEDIUM
shipgraph       a layer that can't be scanned, a bomb                           HIGH
shipgraph       a nested archive that can't be read                             MEDIUM
shipgraph       a known key that protects nothing (``known.py``)                LOW
trivy           CRITICAL, HIGH, MEDIUM, LOW                                     the same
trivy           UNKNOWN, or a word that this version doesn't know               HIGH
==============  ==============================================================  ========
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How bad a finding is."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"

    @property
    def fails(self) -> bool:
        """Whether a finding of this severity refuses the release."""
        return self in (Severity.CRITICAL, Severity.HIGH)

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


_OF_CONFIDENCE: Final = {"high": Severity.CRITICAL, "medium": Severity.HIGH, "low": Severity.LOW}


def of_confidence(confidence: str) -> Severity:
    """Kingfisher's confidence on our scale; an unknown word fails."""
    return _OF_CONFIDENCE.get(confidence, Severity.HIGH)


def of_trivy(severity: str) -> Severity:
    """Trivy's severity on our scale; an unknown word fails."""
    return Severity(severity) if severity in Severity.__members__ else Severity.HIGH
