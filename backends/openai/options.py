"""What a preset may say about an OpenAI-compatible server."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from backends.openai.flavours import FlavourName
from backends.price import Price


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the server is and what is known of it.

    `base_url` is its address, with or without the /v1 at the end. `context` in tokens None is what the server says.
    `flavour` names the kind of server; "auto" finds out. `price` is what its owner asks for a million tokens.
    `extra_body` is added to each question as it stands.
    """

    base_url: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    context: Annotated[int, msgspec.Meta(ge=256, le=1 << 24)] | None = None
    flavour: FlavourName = "auto"
    price: Price | None = None
    extra_body: dict[str, Any] = {}
