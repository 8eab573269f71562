"""Where a file of Hugging Face is, whether it may be asked for at all, and with which token.

The variables are those of huggingface_hub, read at each call: HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and so on.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from backends.errors import BadOptions, NewOrigin, Unauthorized
from backends.origins import Access, access, origin_of
from backends.shown import printable, shown_path

DEFAULT = "https://huggingface.co"
_TRUE = {"1", "ON", "YES", "TRUE"}
_LARGEST_TOKEN = 4096


class HubFile(msgspec.Struct, frozen=True):
    """A file of a repository of models; `file` may lie in folders. `revision` is a branch, tag or commit, "" main.

    `file` "", or one with / at its end, is a folder.
    """

    owner: str
    repo: str
    file: str
    revision: str = ""

    @property
    def shown(self) -> str:
        """Return it as one word for a message."""
        name = f"{self.owner}/{self.repo}/{self.file}".rstrip("/")
        return printable(f"{name}@{self.revision}" if self.revision else name, 400)


def hub_home() -> Path:
    """Return the folder of huggingface_hub: the token and the cache are in it. Raises RuntimeError for no home."""
    if written := os.environ.get("HF_HOME"):
        return expanded(written)
    base = os.environ.get("XDG_CACHE_HOME")
    return (expanded(base) if base else Path.home() / ".cache") / "huggingface"


def expanded(written: str) -> Path:
    """Return the path that a variable of huggingface_hub names. Raises RuntimeError for nobody's home."""
    return Path(os.path.expandvars(written)).expanduser()


def offline() -> str:
    """Return the variable that forbids every request, "" where none does."""
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if value := os.environ.get(variable):
            return variable if value.strip().upper() in _TRUE else ""
    return ""


def endpoint() -> str:
    """Return the address of Hugging Face or of the mirror in HF_ENDPOINT, without "/" at its end. Raises BadOptions."""
    from urllib.parse import urlsplit  # Not at the top: shapes that are remembered need no address.

    written = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT
    hint = f"HF_ENDPOINT should be like {DEFAULT}, or not be set."
    try:
        origin = origin_of(written)
    except BadOptions as error:
        raise BadOptions("HF_ENDPOINT is no server's address", error.detail, hint) from None
    parts = urlsplit(written)
    if parts.query or parts.fragment:
        raise BadOptions("HF_ENDPOINT is no server's address", "It has a ? or a # in it.", hint)
    return origin + parts.path


def file_url(file: HubFile, server: str) -> str:
    """Return the web address of a file of `server`, an endpoint."""
    from urllib.parse import quote

    revision, path = quote(file.revision or "main", safe=""), quote(file.file)
    return f"{server}/{quote(file.owner, safe='')}/{quote(file.repo, safe='')}/resolve/{revision}/{path}"


def hub_access(server: str) -> Access:
    """Return how to reach an endpoint.

    The user's token of Hugging Face is for https://huggingface.co alone. A mirror gets the key that was entered for it,
    if there is one. Raises Unauthorized for a token that cannot be one, BadOptions for settings that cannot be read.
    """
    origin = origin_of(server)
    found = certificates_of(origin)
    if found.key or origin != DEFAULT:
        return found
    return Access(origin, _token(), found.ca_file)


def certificates_of(origin: str) -> Access:
    """Return what the settings say about an origin, whether it is confirmed or not: nothing of the user's is sent."""
    try:
        return access(origin)
    except NewOrigin:
        return Access(origin)


def _token() -> str:
    """Return the token that huggingface_hub would send, "" if there is none. Raises Unauthorized."""
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").strip().upper() in _TRUE:
        return ""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(variable, "").strip():
            return _checked(token, variable, f"Set {variable} to another one, or unset it.")
    try:
        file = _token_file()
        with file.open("rb") as opened:
            token = opened.read(_LARGEST_TOKEN + 1).decode().strip()
    except (OSError, ValueError, RuntimeError):  # without a home folder there is no file either
        return ""
    return _checked(token, shown_path(file), "Enter it again: hf auth login")


def _token_file() -> Path:
    written = os.environ.get("HF_TOKEN_PATH")
    return expanded(written) if written else hub_home() / "token"


def _checked(token: str, place: str, hint: str) -> str:
    if token.isascii() and token.isprintable() and " " not in token and len(token) <= _LARGEST_TOKEN:
        return token
    # Its own words would show the token.
    what = f"{place}: a token is one word of letters, digits and signs."
    raise Unauthorized("The token for Hugging Face is none", what, hint)
