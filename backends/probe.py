"""The short-lived child that imports an engine to see whether it works: `python -P -m backends.probe NAME`."""

from __future__ import annotations

import os
import sys

import msgspec

from backends import registry
from backends.base import Availability
from backends.errors import Problem


def main(name: str) -> None:
    """Write the backend's `Availability` as one JSON line; whatever the engine prints goes to stderr."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    try:
        availability = registry.find(name).check()
    except Problem as error:
        availability = Availability(ready=False, detail=str(error), hint=error.hint)
    with os.fdopen(answer_fd, "wb") as answer:
        answer.write(msgspec.json.encode(availability) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
