"""A channel's digests in the forms that other programs read: environment variables, a Compose override."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shipgraph.errors import MalformedDocument

if TYPE_CHECKING:
    from shipgraph.channel.metadata import ChannelMetadata


def env_text(metadata: ChannelMetadata) -> str:
    """``NAME=value`` lines: one ``IMAGE_<KEY>`` for each image, and what release it is.

    Every value was checked to hold nothing that a shell or a .env file would take for more than text.
    """
    lines = [
        f"CHANNEL={metadata.channel}",
        f"VERSION={metadata.version}",
        f"IMMUTABLE_TAG={metadata.immutable_tag}",
        f"SERIAL={metadata.serial}",
        *(f"IMAGE_{_variable(image.image)}={image.repository}@{image.digest}" for image in metadata.images),
    ]
    if metadata.payload is not None:
        lines.append(f"PAYLOAD={metadata.payload.ref}")
    bad = [line for line in lines if not re.fullmatch(r"[A-Z0-9_]+=[A-Za-z0-9._:/@+-]*", line)]
    if bad:
        raise MalformedDocument(f"{bad[0][:100]!r} can't be written as a variable")
    return "\n".join(lines) + "\n"


def compose_text(metadata: ChannelMetadata) -> str:
    """A Compose file that pins each service of an image's name to the image's digest."""
    lines = [f"# channel {metadata.channel}, {metadata.immutable_tag}, serial {metadata.serial}", "services:"]
    for image in metadata.images:
        lines += [f'  "{image.image}":', f'    image: "{image.repository}@{image.digest}"']
    bad = [line for line in lines[2:] if not re.fullmatch(r'  (?:"[a-z0-9_-]+":|  image: "[A-Za-z0-9._:/@-]+")', line)]
    if bad:
        raise MalformedDocument(f"{bad[0][:100]!r} can't be written into a Compose file")
    return "\n".join(lines) + "\n"


def _variable(key: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", key.upper())
