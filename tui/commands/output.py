"""What every command says: errors on stderr, values as JSON on stdout, and no text that steers the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import ErrorInfo, Problem, to_info
from tui.chat.clean import clean, clean_line

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130


def say(text: str = "") -> None:
    """Print text of any origin to stdout, made harmless."""
    _write(sys.stdout, clean(text))


def warn(text: str) -> None:
    """Print text of any origin to stderr, made harmless."""
    _write(sys.stderr, clean(text))


def prompt(text: str) -> None:
    """Print a question to stderr, with the cursor behind it."""
    sys.stderr.write(clean(text))
    sys.stderr.flush()


def say_error(error: BaseException | ErrorInfo) -> None:
    """Print an error to stderr: title, detail, hint, a line each."""
    info = error if isinstance(error, ErrorInfo) else to_info(error)
    for line in (f"deepseek-tui: {info.title}", info.detail, info.hint):
        if line.strip():
            warn(clean_line(line.strip()))


def unexpected(error: BaseException) -> Problem:
    """Return an exception that nobody foresaw as an error for the user."""
    return Problem(
        "Something went wrong that should not",
        f"{type(error).__name__}: {error}",
        "Run it again with DEEPSEEK_TUI_DEBUG=1 to see where, and report it.",
    )


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return any value of ours as JSON in plain ASCII: lossless, and harmless on a terminal too."""
    import json  # Not for the screen, which only measures text with the tables.

    return json.dumps(msgspec.to_builtins(value, str_keys=True), indent=indent)


def say_json(value: Any) -> None:
    """Print one JSON object: indented for a person, on one line for a program."""
    _write(sys.stdout, to_json(value, indent=2 if is_terminal(1) else None))


def path_text(path: Path) -> str:
    """Return a path as text for JSON, also one whose name is no UTF-8."""
    return str(path).encode(errors="surrogateescape").decode(errors="replace")


def is_terminal(descriptor: int) -> bool:
    """Say whether a descriptor is open on a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def forget_stdout() -> None:
    """Let what is still buffered for stdout go nowhere: its reader is gone."""
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)


def _write(stream: Any, text: str) -> None:
    """Print a line; what the stream's encoding does not have becomes a question mark."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
