"""The short-lived child that asks a backend something: `python -P -m backends.probe check|import|start NAME [OPTIONS]`.

It may import an engine, hang or crash. OPTIONS are a preset's, as one JSON object.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from backends import registry
from backends.base import Availability, Backend
from backends.errors import ErrorInfo, Problem, to_info


def main(what: str, name: str, options: str = "") -> None:
    """Write the answer as one JSON line; whatever the engine prints goes to stderr."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    answer: Availability | ErrorInfo | None
    match what:
        case "check":
            answer = _check(name, options)
        case "import":
            answer = _import(name)
        case _:
            answer = _start(name, options)
    with os.fdopen(answer_fd, "wb") as out:
        out.write(msgspec.json.encode(answer) + b"\n")


def _check(name: str, options: str) -> Availability:
    try:
        backend = registry.find(name)
        # A plug-in's `check` may be of before there were options.
        return backend.check(_options(backend, options)) if options else backend.check()
    except Problem as error:
        return Availability(ready=False, detail=str(error), hint=error.hint)
    except msgspec.ValidationError as error:
        return Availability(ready=False, detail=f"The preset's options: {error}", hint="Mend the preset.")


def _import(name: str) -> Availability:
    """Say whether a backend can be imported: whoever asks does it next."""
    try:
        registry.find(name)
    except Problem as error:
        return Availability(ready=False, detail=error.detail, hint=error.hint)
    return Availability(ready=True)


def _start(name: str, options: str) -> ErrorInfo | None:
    try:
        backend = registry.find(name)
        backend.start(_options(backend, options or "{}"))
    except Exception as error:  # noqa: BLE001 - told to whoever wanted it started
        return to_info(error)
    return None


def _options(backend: type[Backend], text: str) -> Any:
    return msgspec.convert(msgspec.json.decode(text), backend.Options)


if __name__ == "__main__":
    main(*sys.argv[1:])
