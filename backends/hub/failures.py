"""What can go wrong between us and Hugging Face, as errors that a person can act on."""

from __future__ import annotations

import email.utils
import errno
import time
from collections.abc import Mapping
from pathlib import Path

from backends.errors import (
    BackendError,
    BadModelFile,
    ModelNotFound,
    RateLimited,
    ServerError,
    ServerUnreachable,
    Unauthorized,
)
from backends.http.failures import message, unreachable
from backends.hub.address import DEFAULT, HubFile
from backends.shown import printable, shown_path, size

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


def is_lasting(error: BackendError) -> bool:
    """Say whether a line that failed so will fail again: a certificate does not become trusted by itself."""
    return not isinstance(error, ServerUnreachable | ServerError) or "certificate" in error.title


def retry_after_s(text: str) -> float:
    """Return how many seconds a server wants to be left alone: its Retry-After, a number or a date; 0 if none."""
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 8:
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def broke_off(file: HubFile, server: str, left: int) -> BackendError:
    """Return the error for a body that ended too early, without an error of its own."""
    return ServerError(f"{server} broke off", f"{file.shown}: {left} bytes were still to come.", LATER)


def page(body: bytes) -> str:
    """Say in a sentence that a web page came instead of a file."""
    said = message(body)
    return said if said.startswith("It sent a web page") else "It sent a web page."


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


class NoSpace(BackendError):
    """The disk has too little room for what is to be fetched."""

    kind = "no_space"


class WrongContent(BackendError):
    """What was fetched, or lies in its place, is not what its publisher or the preset says."""

    kind = "wrong_content"


def no_room(folder: Path, free: int, needed: int, stays_free: int) -> BackendError:
    """Return the error for a download that does not fit on the disk, before it begins."""
    missing = needed + stays_free - free
    return NoSpace(
        f"The disk is too full: {size(missing)} are missing",
        f"{shown_path(folder)} has {size(free)} free; {size(needed)} are to come, and "
        f"{size(stays_free)} stay free for everything else.",
        "Make room, or use --force.",
    )


def disk_full(path: Path, here: int, total: int) -> BackendError:
    """Return the error for a disk that became full in the middle."""
    return NoSpace(
        f"The disk is full: {size(total - here)} are missing",
        f"{size(here)} of {size(total)} are in {shown_path(path)} and stay.",
        "Make room, then pull again: it goes on from there.",
    )


def folder_refuses(error: OSError, path: Path) -> BackendError:
    """Return the error for a file that cannot be written."""
    why = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpace(
            "The disk is full", f"{shown_path(path)}: {why}", "Make room, then pull again: what is here stays."
        )
    hint = "Look at the permissions of the folder, and at the disk; what is here stays."
    if error.errno == errno.EFBIG:
        hint = "This disk takes no file that large (FAT ends at 4 GB). DEEPSEEK_TUI_HOME names another."
    return BackendError("The file cannot be written", f"{shown_path(path)}: {why}", hint)


def wrong_pin(file: HubFile, server: str, told: str, pinned: str) -> BackendError:
    """Return the error for a hub that announces another content than the one that is pinned."""
    return WrongContent(
        f"{server} has another file than the one that is pinned",
        f"{file.shown}: it says sha256 {told}, the preset says {pinned}. Nothing was fetched.",
        "Pin its commit with @, mend the sha256 in the preset's source, or do not trust this server.",
    )


def wrong_content(file: HubFile, told: str, found: str) -> BackendError:
    """Return the error for a file whose bytes are not what was announced."""
    return WrongContent(
        "What was fetched is not what was announced",
        f"{file.shown}: its hash should be {told}, and is {found}. It was thrown away.",
        "Pull again; if it happens again, name another mirror in HF_ENDPOINT, or none.",
    )


def in_the_way(file: HubFile, place: Path) -> BackendError:
    """Return the error for a file of another content where the fetched one should be."""
    return WrongContent(
        "Another file is in the way",
        f"{shown_path(place)} is not {file.shown} as it is there now.",
        "Move it away, then pull again.",
    )


def no_model(file: HubFile, server: str) -> BackendError:
    """Return the error for a .gguf file that begins with something else."""
    return BadModelFile(
        f"{server} sent what is no model", f"{file.shown} does not begin like a GGUF file.", "Choose another file."
    )


def unsafe_name(name: str) -> BackendError:
    """Return the error for a file name that would lead out of its folder."""
    return ServerError(
        "A file of the repository has a name that is not used", repr(printable(name, 300)), "Choose another repository."
    )
