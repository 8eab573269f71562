"""The kinds of OpenAI-compatible servers: how each is recognised, and what it can do beyond the common part.

Sources: vLLM's ChatCompletionRequest, SGLang's protocol.py, TabbyAPI's sampling and chat types, llama-server's README,
LM Studio's REST documentation, DeepSeek's API documentation.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FlavourName = Literal["auto", "vllm", "sglang", "tabby", "llama_server", "lm_studio", "deepseek", "plain"]

Continuation = Literal["", "final_message", "response_prefix", "rendered"]
"""How an unfinished answer goes on: not at all; as the last message, left open; in a field of its own; behind a prompt
that the server renders and takes back as plain text."""

Counting = Literal["", "messages", "rendered"]
"""How tokens are counted: not at all, from the messages, from a prompt that the server renders."""

_DRY = {name: name for name in ("dry_multiplier", "dry_base", "dry_allowed_length")}
_COMMON = {"top_k": "top_k", "min_p": "min_p"}


class Flavour(msgspec.Struct, frozen=True):
    """One kind of server.

    `samplers` maps our names of further sampling stages to its own; `every_token` as `top_k` switches that stage off.
    """

    title: str
    samplers: dict[str, str]
    continuation: Continuation = ""
    counting: Counting = ""
    live_counts: bool = False
    seed: bool = True
    every_token: int = 0


FLAVOURS: dict[str, Flavour] = {
    "vllm": Flavour(
        "vLLM",
        _COMMON | {"repeat_penalty": "repetition_penalty"},
        "final_message",
        "messages",
        live_counts=True,
        every_token=-1,
    ),
    "sglang": Flavour("SGLang", _COMMON | {"repeat_penalty": "repetition_penalty"}, "final_message", every_token=-1),
    "tabby": Flavour("TabbyAPI", _COMMON | {"repeat_penalty": "repetition_penalty"} | _DRY, "response_prefix"),
    "llama_server": Flavour(
        "llama-server", _COMMON | {"repeat_penalty": "repeat_penalty"} | _DRY, "rendered", "rendered", live_counts=True
    ),
    "lm_studio": Flavour("LM Studio", _COMMON | {"repeat_penalty": "repeat_penalty"}),
    "deepseek": Flavour("DeepSeek API", {}, seed=False),
    "plain": Flavour("OpenAI-compatible server", {}),
}

# What stands under "owned_by" in the list of models.
_OWNERS = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama_server",
    "tabbyapi": "tabby",
    "organization_owner": "lm_studio",
    "deepseek": "deepseek",
}


def recognised(wanted: FlavourName, host: str, owners: set[str]) -> str:
    """Return the name of a server's flavour: the one wanted, else what its address and list of models show."""
    if wanted != "auto":
        return wanted
    if host == "api.deepseek.com":
        return "deepseek"
    return next((_OWNERS[owner.lower()] for owner in sorted(owners) if owner.lower() in _OWNERS), "plain")
