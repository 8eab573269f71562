"""What can go wrong between us and Hugging Face, as errors that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping

from backends.errors import BackendError, ModelNotFound, RateLimited, ServerError, ServerUnreachable, Unauthorized
from backends.http.failures import message, unreachable
from backends.hub.address import DEFAULT, HubFile
from backends.shown import printable

LATER = "Try again in a while."
_ONLINE = "Is this machine online? HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror of Hugging Face."
_CERTIFICATES = (
    "If a proxy here looks into what is encrypted, SSL_CERT_FILE=FILE names its certificates, or: deepseek-tui origins "
    f"add {DEFAULT} --ca-file FILE"
)


def switched_off(variable: str, file: HubFile) -> BackendError:
    """Return the error where the user allows no request."""
    return ServerUnreachable(
        "Hugging Face is switched off", f"{variable} is set; {file.shown} was not asked for.", f"Unset {variable}."
    )


def line_failed(error: BaseException, server: str) -> BackendError:
    """Return the error for a line to `server` that could not be opened or broke."""
    told = unreachable(error, server)
    hint = _CERTIFICATES if "certificate" in told.title else _ONLINE
    return type(told)(told.title, told.detail, LATER if isinstance(told, ServerError) else hint)


def too_slow(file: HubFile, server: str, patience_s: float) -> BackendError:
    """Return the error for a header that was not here in time."""
    return ServerUnreachable(
        f"{server} is too slow",
        f"The header of {file.shown} was not here after {patience_s:g} s.",
        "Try again, or over another line.",
    )


def nonsense(file: HubFile, server: str, what: str) -> BackendError:
    """Return the error for an answer that breaks the rules of HTTP ranges: `what` in a sentence."""
    return ServerError(
        f"{server} sent what is no answer", f"{file.shown}: {what}", "Is HF_ENDPOINT a mirror of Hugging Face?"
    )


def no_ranges(file: HubFile, server: str) -> BackendError:
    """Return the error for a server that begins to send a whole file where a part was wanted."""
    return ServerError(
        f"{server} does not send parts of files",
        f"Of {file.shown} a part was wanted; it began to send all of it.",
        "Download the file: its header is read then. Or name another mirror in HF_ENDPOINT.",
    )


def sends_elsewhere(file: HubFile, server: str, why: str) -> BackendError:
    """Return the error for a redirection that is not followed: `why` in a sentence."""
    return ServerError(f"{server} sends elsewhere", f"{file.shown}: {why}", "Check HF_ENDPOINT, and any proxy.")


def refused(
    status: int, headers: Mapping[str, str], body: bytes, file: HubFile, server: str, *, hub: bool, token: bool
) -> BackendError:
    """Return the error for an answer that is a refusal.

    `hub` says whether it came from the hub itself, not from where that keeps its files; `token` whether a token was
    sent.
    """
    said = printable(headers.get("x-error-message", ""), 300) or message(body)
    code = headers.get("x-error-code", "").lower()
    repo = printable(f"{file.owner}/{file.repo}", 200)
    page = f"https://huggingface.co/{repo}"
    if status == 429:
        wait = headers.get("retry-after", "")
        hint = f"Try again in {wait} s." if wait.isdecimal() and len(wait) < 8 else LATER
        return RateLimited(f"{server} wants fewer questions", said, hint)
    if status >= 500:
        return ServerError(f"{server} failed", f"{said} (HTTP {status})".strip(), LATER)
    if not hub and status in {401, 403}:
        return ServerError(f"{server} refuses to send the file", f"{file.shown}: {said} (HTTP {status})", LATER)
    if code == "gatedrepo":
        first = "With the account that the token is of, accept" if token else "Accept"
        then = "" if token else ", then enter a token: hf auth login"
        return Unauthorized(f"{repo} asks for consent", said, f"{first} its terms at {page}{then}.")
    if code == "revisionnotfound":
        what = f"{repo} has no revision {printable(file.revision or 'main')}"
        return ModelNotFound(what, said, f"Look at {page}, and mend what follows @ in the preset's source.")
    if code == "entrynotfound" or (status == 404 and not code):
        name = f"{repo} has no file {printable(file.file)}"
        return ModelNotFound(name, said, f"Check owner, repository and file at {page}/tree/main.")
    if code == "reponotfound" or (status in {401, 404} and not token):
        # Without a token the hub does not tell whether such a repository exists.
        hint = "Check the name." + ("" if token else " If it is private, enter a token: hf auth login")
        return ModelNotFound(f"{server} shows no repository {repo}", said, hint)
    if status in {401, 403}:
        hint = f"See whether it may read {repo}: hf auth whoami" if token else "Enter a token: hf auth login"
        return Unauthorized(f"{server} refuses " + ("the token" if token else "to answer without a token"), said, hint)
    return ServerError(f"{server} refuses to send the file", f"{file.shown}: {said} (HTTP {status})", LATER)
