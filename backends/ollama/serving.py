"""Start the user's own Ollama server where it is installed but does not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.parse
from pathlib import Path

from backends import paths
from backends.errors import NotInstalled, ServerError, ServerUnreachable
from backends.ollama import address
from backends.origins import is_local, origin_of

COMMAND = "ollama serve"
START_S = 30.0
_POLL_S = 0.1
_ASK_S = 2.0
_TAIL = 4096
_INSTALL = "Install it from ollama.com, then `ollama serve`."

_started: list[subprocess.Popen[bytes]] = []


def log() -> Path:
    """Where a server that we started writes what it has to say."""
    return paths.state() / "ollama.log"


def can_serve(host: str = "") -> str | None:
    """Return the program that can serve what a preset's `host` names: None for another machine or without Ollama.

    Raises BadOptions for a host that is no address.
    """
    return shutil.which("ollama") if is_local(origin_of(address.find(host).url)) else None


def how_to_start(host: str = "") -> str:
    """Return what the user can do about a server that does not answer."""
    found = address.find(host)
    if not is_local(origin_of(found.url)):
        return f"Start Ollama on {found.shown.partition(':')[0]}, and see that it listens there (OLLAMA_HOST)."
    return f"Start it: `{COMMAND}`." if can_serve(host) else _INSTALL


def serve(host: str = "", timeout_s: float = START_S) -> None:
    """Start `ollama serve` in a session of its own, and come back when it answers. Does nothing if it already does.

    Raises NotInstalled, ServerUnreachable for another machine or one that does not answer in time, ServerError for one
    that ended at once.
    """
    found = address.find(host)
    if answers(found.url):
        return
    if not is_local(origin_of(found.url)):
        raise ServerUnreachable("Ollama does not answer", f"Asked was {found.shown}.", how_to_start(host))
    program = can_serve(host)
    if program is None:
        raise NotInstalled("Ollama is not installed", "There is no program called `ollama` on the PATH.", _INSTALL)
    child = _start(program, found)
    deadline = time.monotonic() + timeout_s
    while not answers(found.url):
        if child.poll() is not None:
            detail = f"`{COMMAND}` ended with status {child.returncode}: {_last_words()}"
            raise ServerError("Ollama could not be started", detail, f"Its log is {log()}.")
        if time.monotonic() > deadline:
            detail = f"`{COMMAND}` was started {timeout_s:g} s ago and does not answer at {found.shown}."
            raise ServerUnreachable("Ollama does not answer yet", detail, f"Try again; its log is {log()}.")
        time.sleep(_POLL_S)


def answers(url: str) -> bool:
    """Say whether a server of this machine answers as Ollama does."""
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=_ASK_S, follow_redirects=False) as client:
            return client.get(f"{url}/api/version").is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _start(program: str, found: address.Address) -> subprocess.Popen[bytes]:
    _started[:] = [child for child in _started if child.poll() is None]
    paths.private(log().parent)
    netloc = urllib.parse.urlsplit(found.url).netloc
    with os.fdopen(os.open(log(), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        try:
            child = subprocess.Popen(
                [program, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, "OLLAMA_HOST": netloc},
                start_new_session=True,
            )
        except OSError as error:
            raise ServerError("Ollama could not be started", f"{program}: {error.strerror}", _INSTALL) from error
    _started.append(child)  # kept, so that it is reaped when it ends before us
    return child


def _last_words() -> str:
    try:
        said = log().read_bytes()[-_TAIL:].decode(errors="replace").strip().splitlines()
    except OSError:
        return "nothing was said"
    return said[-1][:500] if said else "nothing was said"
