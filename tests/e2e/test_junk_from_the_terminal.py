"""Whatever a terminal sends: bytes of no text, keys that do not exist, half a character. The screen stays."""

from __future__ import annotations

import os

JUNK = (
    b"\xff",
    b"\xf0\x9f",  # the beginning of a character
    b"\x1b[99999999u",
    b"\x1b[97;1;99999999u",
    b"\x1b[97;1;55296u",  # a key that would be half of a surrogate pair
    b"\x1b[1:::;2u",
)


def test_junk_is_passed_over_and_what_is_typed_after_it_is_there(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo")
    screen.see("Ask anything")
    for junk in JUNK:
        os.write(screen.child.child_fd, junk)
        screen.read(0.15)
    screen.ask("still here")
    screen.see("(?s)You .*still here.*saved")
