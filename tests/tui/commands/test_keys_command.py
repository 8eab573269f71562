"""`deepseek-tui keys`, and what `doctor` says of keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tui.checks.keys import keys
from tui.keys.table import KEYS
from tui.settings import settings_file

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run

WRONG = '[keys]\nanswer.retry = "f12"\nanser.now = "f11"\nchat.new = "ctrl+shift+n, f11"\n'


def write(text: str) -> None:
    settings_file().parent.mkdir(parents=True, exist_ok=True)
    settings_file().write_text(text)


def test_all_keys_are_listed_with_their_ids(run: Run) -> None:
    ran = run("keys")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == list(KEYS)


def test_a_word_finds_ids_and_meanings(run: Run) -> None:
    ids = [line.split()[0] for line in run("keys", "version").out.splitlines()[1:]]
    assert ids == ["messages.before", "messages.after"]
    assert run("keys", "nothing has this").out == ""


def test_own_keys_are_marked_and_wrong_ones_told(run: Run) -> None:
    write(WRONG)
    ran = run("keys", "answer.retry")
    assert ran.status == 1
    assert "F12 *" in ran.out
    assert "line 3: anser.now: there is no such id\nDid you mean answer.now?" in ran.err
    assert "line 4: chat.new: Ctrl+Shift+N is sent by few terminals" in ran.err


def test_as_json_with_the_tables_own_beside_them(run: Run) -> None:
    write(WRONG)
    told = json.loads(run("keys", "--json", "answer.retry").out)
    assert told["keys"] == [
        {
            "id": "answer.retry", "place": "everywhere", "keys": ["f12"], "default": ["ctrl+r"],
            "what": "Answer the last question once more",
        }
    ]  # fmt: skip
    assert [(problem["id"], problem["line"], problem["used"]) for problem in told["problems"]] == [
        ("anser.now", 3, False),
        ("chat.new", 4, True),
    ]


def test_doctor_has_a_row_for_each_and_a_report_names_no_word_of_the_user() -> None:
    assert list(keys()) == []
    write(WRONG.replace("anser.now", '"my secret"'))
    first, second = keys()
    assert (first.state, first.harm, first.public) == ("warn", "keys", "an id that there is not, line 3")
    assert "my secret" in first.found
    assert (second.harm, second.public) == ("key-kept", "chat.new, line 4")
    write('[keys]\nanswer.retry = "f12"\n')
    assert [(check.state, check.found) for check in keys()] == [("ok", "1 of your own")]
