"""A machine too sick to be looked at is still told about."""

from __future__ import annotations

import pytest

from tui.checks import everything
from tui.checks.ground import Ground


def test_what_breaks_the_look_itself_is_a_finding_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: object) -> Ground:
        raise OSError("no more processes")

    monkeypatch.setattr(everything, "gather", broken)
    said: list[str] = []
    _, checks = everything.look(said.append)
    found = {check.name: check for check in checks}
    assert (found["machine"].state, found["machine"].public) == ("fail", "cannot be checked: OSError")
    assert {"python", "conversations", "tariff"} <= set(found)
    assert said[0] == "the installation"
