"""What can go wrong while an Ollama server fetches a model, told by the words of its stream."""

from __future__ import annotations

import re

from backends.errors import BackendError, ModelNotFound, ServerError, ServerUnreachable, Unauthorized
from backends.hub.failures import NoSpace
from backends.shown import printable

_MISSING = re.compile(r"file does not exist|manifest unknown|not found", re.IGNORECASE)
_NAME = re.compile(r"invalid model name|invalid model path|name is invalid", re.IGNORECASE)
_OLD = re.compile(r"requires a newer version|newer version of ollama|update ollama", re.IGNORECASE)
_FULL = re.compile(r"no space left on device|disk quota exceeded|not enough space", re.IGNORECASE)
_REFUSED = re.compile(r"unauthorized|access denied|(?:^|: |status code )40[13]\b", re.IGNORECASE)
_DAMAGED = re.compile(r"digest mismatch", re.IGNORECASE)
_CERTIFICATE = re.compile(r"x509|certificate", re.IGNORECASE)
_LINE = re.compile(
    r"dial tcp|no such host|i/o timeout|TLS handshake|connection (?:reset|refused)|network is unreachable|broken pipe"
    r"|unexpected EOF|\bEOF$|max retries exceeded|deadline exceeded|timed out|stream error"
    r"|(?:^|: |status code )(?:429|5\d\d)\b",
    re.IGNORECASE,
)


def refused(said: str, tag: str, server: str) -> BackendError:
    """Return the error for what a server said instead of going on. `said` is one bounded, printable line."""
    tag = printable(tag)
    if _OLD.search(said):
        return ServerError(f"This Ollama is too old for {tag}", said, "Update Ollama where it runs, then fetch again.")
    if _FULL.search(said):
        return NoSpace(
            "The disk of Ollama's server is full",
            f"{server}: {said}",
            "Make room there: `ollama list` and `ollama rm` show and remove its models. It keeps what it has.",
        )
    if _NAME.search(said):
        return ModelNotFound(f"{tag} is no model's name to Ollama", said, "Write it like deepseek-r1:14b.")
    if _DAMAGED.search(said):
        return ServerError(
            "What Ollama fetched was damaged on its way", f"{server}: {said}", "It threw that away: fetch it again."
        )
    if _CERTIFICATE.search(said):
        return ServerError(
            "Ollama does not trust its library's certificate",
            f"{server}: {said}",
            "If a proxy there looks into what is encrypted, its certificate has to be known to that machine.",
        )
    if _LINE.search(said):
        return ServerUnreachable(
            "Ollama cannot reach its library",
            f"{server}: {said}",
            "Is that machine online? HTTPS_PROXY in the server's environment names a proxy.",
        )
    if _MISSING.search(said):
        return ModelNotFound(
            f"There is no model called {tag} in Ollama's library",
            f"{server}: {said}",
            "ollama.com/library lists its models and their tags; mend `source` in the preset.",
        )
    if _REFUSED.search(said):
        return Unauthorized(
            f"Ollama's library does not give {tag} to everybody",
            f"{server}: {said}",
            "Is it spelled right, or private?",
        )
    return ServerError(f"Ollama could not fetch {tag}", f"{server}: {said}", "The server's log may say more.")


def passes(error: BackendError) -> bool:
    """Say whether the same may work in a while: a line that broke, here or behind the server."""
    import httpx

    if "certificate" in error.title:
        return False
    return isinstance(error, ServerUnreachable) or isinstance(error.__cause__, httpx.TransportError | OSError)
