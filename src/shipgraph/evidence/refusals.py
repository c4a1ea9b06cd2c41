"""Errors of evidence, named by their cause."""

from __future__ import annotations

from shipgraph.errors import Refused, ShipgraphError


class EvidenceUntrusted(Refused):
    """A statement that doesn't count: a wrong signature, signer, subject, kind or verdict."""


class SigningFailed(ShipgraphError):
    """An authority refused to give out a certificate or an entry in its log, or there is nothing to sign with."""
