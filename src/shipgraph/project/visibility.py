"""The table ``[visibility]``: whether everybody must be able to pull what is released."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class VisibilityTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Whether a release must be public before tags move, and after."""

    require: (
        Annotated[
            Literal["public", "any"],
            Meta(
                description="`public`: a release is refused unless everybody can pull all of it, without an account;"
                " `any`: nobody asks. By default `public` on ghcr.io, and `any` on other registries."
            ),
        ]
        | None
    ) = None
