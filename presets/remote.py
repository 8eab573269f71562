"""The header of a model at Hugging Face, read by a short-lived child: `python -P -m presets.remote SOURCE`.

The process of a screen imports no HTTP client. What the child finds is remembered, for `presets.shapes.known_shape`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import msgspec

from backends.errors import ErrorInfo, Problem, to_info
from backends.hub.header import PATIENCE_S
from presets.shapes import fetch_shape
from presets.sources import HuggingFace, parse, written

_LONGER_S = 10.0
"""A child on a busy machine begins late."""
_LARGEST_BYTES = 64 * 1024


async def ask(source: HuggingFace) -> ErrorInfo | None:
    """Have the header read and remembered; return why that failed, None where it did not. Raises nothing."""
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "presets.remote", written(source)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
        )
    except OSError as error:
        return ErrorInfo("os", "No process can be started", str(error), "End what you do not need, then retry.")
    try:
        said, _ = await asyncio.wait_for(child.communicate(), PATIENCE_S + _LONGER_S)
        return msgspec.json.decode(said[:_LARGEST_BYTES], type=ErrorInfo | None)
    except TimeoutError:
        return ErrorInfo("os", "The header was not here in time", "", "It is fetched with the model.")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ErrorInfo("os", "The header could not be read", "Its process ended without a word.", "")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        with contextlib.suppress(asyncio.CancelledError):
            await child.wait()


def main(text: str) -> None:
    """Read the header, and write as JSON what was in the way; null is nothing."""
    answer = os.dup(1)
    os.dup2(2, 1)
    found: ErrorInfo | None = None
    try:
        source = parse(text)
        if isinstance(source, HuggingFace) and not source.is_folder:
            fetch_shape(source)
    except Problem as problem:
        found = to_info(problem)
    with os.fdopen(answer, "wb") as out:
        out.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main(sys.argv[1])
