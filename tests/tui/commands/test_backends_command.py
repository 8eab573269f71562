"""`deepseek-tui backends`: which there are, whether each can be used here, and what a preset may say."""

from __future__ import annotations

import msgspec

from backends import registry
from tests.tui.commands.conftest import Run
from tui.commands.backends import option_rows


class Inner(msgspec.Struct, frozen=True):
    a: int = 1


class Options(msgspec.Struct, frozen=True):
    url: str
    layers: int | str = "auto"
    on: bool = True
    inner: Inner | None = None
    names: tuple[str, ...] = ()


NO_SERVER = {"OLLAMA_HOST": "127.0.0.1:9"}


def test_every_backend_is_listed_with_why_it_cannot_be_used(run: Run) -> None:
    listed = run("backends", env=NO_SERVER)
    rows = {line.split()[0]: line for line in listed.out.splitlines()[1:]}

    assert listed.status == 0
    assert set(registry.names()) <= set(rows)
    assert "ready" in rows["echo"]
    assert "127.0.0.1:9 does not answer" in rows["ollama"]

    found = {row["name"]: row for row in run("backends", "--json", env=NO_SERVER).json["backends"]}
    assert (found["ollama"]["ready"], found["echo"]["ready"]) == (False, True)
    assert found["ollama"]["hint"]
    assert not any(row["plugin"] for row in found.values())


def test_one_is_shown_with_the_keys_that_a_preset_may_write(run: Run) -> None:
    shown = run("backends", "show", "echo")
    assert shown.status == 0
    assert "[backends.echo]" in shown.out
    assert '"" or "decode" or "load" or "prefill"' in shown.out
    assert "source" in shown.out

    found = run("backends", "show", "echo", "--json").json
    assert "answer_now" in found["backend"]["capabilities"]
    assert {"key": "repeat", "type": "whole number", "default": 1, "required": False} in found["options"]


def test_an_unknown_one_is_an_error_with_the_nearest(run: Run) -> None:
    shown = run("backends", "show", "ehco")
    assert shown.status == 1
    assert "Did you mean 'echo'?" in shown.err


def test_types_are_said_in_a_presets_words() -> None:
    rows = {row.key: (row.type, row.required) for row in option_rows(Options)}

    assert rows == {
        "url": ("text", True),
        "layers": ("whole number or text", False),
        "on": ("true or false", False),
        "inner": ("table", False),
        "names": ("list", False),
    }
