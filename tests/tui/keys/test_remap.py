"""Other keys by config.toml: what can be is taken, and what cannot stays as it was and is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.keys import filled, names, now, reading, shown
from tui.keys.remap import clashes, nearest, remap
from tui.keys.table import AREAS, KEYS, PLACES
from tui.settings import load_settings, settings_file


def test_the_table_itself_has_no_clash_and_every_terminal_sends_its_keys() -> None:
    assert list(clashes({})) == []
    for name, key in KEYS.items():
        for pressed in now.default(name):
            assert names.canonical(pressed) == pressed
            assert names.sent(pressed) or pressed.startswith("alt+")
            assert not names.prefix_of(pressed)
            assert not (AREAS[PLACES[name]].typing and names.types(pressed)), (name, pressed)
        assert key.keys or key.follows


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("ctrl+r", "ctrl+r"), ("Ctrl + R", "ctrl+r"), ("^r", "ctrl+r"), ("F10", "f10"), ("Esc", "escape"), ("C", "C"),
        ("PgUp", "pageup"), ("shift+a", "A"), ("alt+shift+x", "alt+shift+x"), ("/", "slash"), ("+", "plus"),
        ("[", "left_square_bracket"), ("ctrl+i", "tab"), ("ctrl+m", "enter"), ("shift+tab", "shift+tab"),
        ("control+space", "ctrl+space"), ("у", "у"), ("é", "é"), ("alt++", "alt+plus"),
    ],
)  # fmt: skip
def test_a_key_may_be_written_as_people_write_it(written: str, key: str) -> None:
    assert names.canonical(written) == key


JUNK = [
    "", "ctrl", "ctrl+", "ctlr+r", "ctrl+ctrl+r", "F99", "f0", "escaped", "ctrl+é", "°", "ab", "ctrl+shift", "😀",
    "\x1b", "<any>", "shift+1", "+ctrl+r", "ctrl r",
]  # fmt: skip


@pytest.mark.parametrize("written", JUNK)
def test_what_is_no_key_is_told(written: str) -> None:
    assert names.canonical(written) is None
    if written:
        found = remap({"answer.retry": written})
        assert found.own == {}
        assert "there is no such key" in found.faults[0].what


@given(st.text(max_size=12))
def test_whatever_is_written_is_a_key_or_none_and_its_name_is_stable(written: str) -> None:
    key = names.canonical(written)
    if key is not None:
        assert names.canonical(key) == key
        assert names.short(key)
        assert names.long(key).isprintable()


@given(
    st.dictionaries(st.sampled_from(sorted(KEYS)), st.sampled_from([*map(",".join, map(now.default, KEYS)), "", "f12"]))
)
def test_no_wish_whatever_leads_to_a_clash_or_to_a_place_without_a_way_out(wished: dict[str, str]) -> None:
    found = remap(wished)
    assert list(clashes(found.own)) == []
    assert set(found.own) | {fault.id for fault in found.faults} == set(wished)
    for name, key in KEYS.items():
        assert not key.needed or found.own.get(name, now.default(name))


@pytest.mark.parametrize(
    ("wished", "near"), [("answer.rety", "answer.retry"), ("find", "chat.find"), ("Program.Quit", "program.quit")]
)
def test_an_unknown_id_names_the_nearest(wished: str, near: str) -> None:
    assert nearest(wished) == near
    assert near in remap({wished: "f12"}).faults[0].hint


def test_two_ids_may_swap_their_keys() -> None:
    found = remap({"answer.retry": "ctrl+n", "chat.new": "ctrl+r"})
    assert not found.faults
    now.put(found.own)
    assert (shown("answer.retry"), shown("chat.new")) == ("^n", "^r")
    assert now.keymap() == {"answer.retry": "ctrl+n", "chat.new": "ctrl+r"}


@pytest.mark.parametrize(
    ("name", "key", "other"),
    [
        ("answer.retry", "ctrl+n", "chat.new"),  # both everywhere
        ("messages.edit", "r", "messages.retry"),  # in one place
        ("answer.retry", "end", "composer.end"),  # everywhere, and in the composer
        ("chats.delete", "down", "lists.down"),  # of all lists
        ("program.plan", "pageup", "composer.page_up"),
    ],
)
def test_a_clash_names_both_and_what_was_there_stays(name: str, key: str, other: str) -> None:
    found = remap({name: key})
    assert found.own == {}
    assert [(fault.id, fault.other, fault.used) for fault in found.faults] == [(name, other, False)]
    assert other in found.faults[0].what


def test_of_a_broken_swap_nothing_is_left() -> None:
    found = remap({"answer.retry": "ctrl+n", "chat.new": "ctrl+f"})
    assert found.own == {}
    assert {fault.id for fault in found.faults} == {"answer.retry", "chat.new"}


@pytest.mark.parametrize("key", ["x", "7", "slash", "space", "backspace", "left", "Q"])
def test_a_key_that_types_is_refused_where_one_types(key: str) -> None:
    found = remap({"answer.retry": key, "search.leave": key})
    assert found.own == {}
    assert [fault.id for fault in found.faults] == ["answer.retry", "search.leave"]


@pytest.mark.parametrize("name", [name for name, key in KEYS.items() if key.needed])
def test_what_is_needed_keeps_a_key_that_every_terminal_sends(name: str) -> None:
    assert remap({name: ""}).own == {}
    assert remap({name: "ctrl+shift+f9"}).own == {}
    assert not remap({name: "f12"}).faults


@pytest.mark.parametrize(("key", "said"), [("ctrl+b", "tmux"), ("ctrl+a", "screen"), ("ctrl+shift+x", "few terminals")])
def test_what_may_not_arrive_is_taken_and_told(key: str, said: str) -> None:
    found = remap({"answer.retry": key})
    assert found.own == {"answer.retry": (key,)}
    assert found.faults[0].used
    assert said in found.faults[0].what


def test_a_sentence_says_the_keys_that_there_are_now() -> None:
    sentence = "{answer.stop} stops, {answer.retry} tries again, {preset.2} chooses {name}"
    assert filled(sentence, name="{answer.stop}") == "Esc stops, ^r tries again, F3 chooses {answer.stop}"
    now.put(remap({"answer.retry": "f12", "preset.2": ""}).own)
    assert filled(sentence, name="B") == (
        "Esc stops, F12 tries again, ^p, then “Answer with the preset on this key”, chooses B"
    )


def test_what_closes_a_view_follows_the_key_that_opens_it() -> None:
    now.put(remap({"program.plan": "f12", "program.help": "ctrl+k"}).own)
    assert now.of("plan.close") == ("escape", "q", "ctrl+c", "f12")
    assert now.keymap()["help.close"] == "escape,q,ctrl+k"


WRITTEN = """\
[keys]
answer.retry = "f12"
"chat.new" = ["ctrl+k", "f11"]
anser.now = "ctrl+g"
[keys.preset]
free = "ctlr+z"
"""


def test_a_fault_is_told_with_file_line_and_id_and_the_others_are_used() -> None:
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(WRITTEN)
    problems = reading.take(load_settings({}).keys)
    assert (now.of("answer.retry"), now.of("chat.new"), now.of("preset.free")) == (
        ("f12",), ("ctrl+k", "f11"), ("ctrl+x",),
    )  # fmt: skip
    assert [(each.key, each.line) for each in problems] == [("anser.now", 4), ("preset.free", 6)]
    told = reading.told(problems)
    assert told is not None
    assert f"{settings_file()}, line 4: anser.now: there is no such id. Did you mean answer.now?" in told.detail
    assert "line 6: preset.free: ctlr+z: there is no such key. Did you mean ctrl+z?" in told.detail


def test_a_doubt_is_told_at_the_start_where_something_keeps_the_key_and_else_where_one_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wished = {"answer.retry": "ctrl+b", "answer.now": "ctrl+shift+x"}
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert len(reading.take(wished)) == 2
    assert reading.told(reading.take(wished)) is None
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    told = reading.told(reading.take(wished))
    assert told is not None
    assert "Ctrl+B is the prefix of tmux" in told.detail
    assert "Ctrl+Shift+X" not in told.detail


def test_many_faults_are_one_notice() -> None:
    told = reading.told(reading.take({f"nothing.{number}": "f12" for number in range(500)}))
    assert told is not None
    assert len(told.detail.splitlines()) == 7
    assert "And 494 more: `deepseek-tui doctor`" in told.detail


@pytest.mark.parametrize("value", ["true", "[[1], {}]", "1.5", "2026-11-26"])
def test_a_key_that_is_no_text_is_told_with_its_line_and_no_other_setting_is_lost(value: str) -> None:
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(f'theme = "nord"\n[keys]\nanswer.retry = {value}\n')
    settings = load_settings({})
    assert settings.theme == "nord"
    (problem,) = reading.take(settings.keys)
    assert (problem.key, problem.line, problem.used) == ("answer.retry", 3, False)


def test_hostile_ids_and_keys_are_made_harmless() -> None:
    for fault in remap({"\x1b[2J{answer}": "f1", "answer.retry": "\x1b]52;c;x\x07" * 99}).faults:
        assert fault.what.isprintable()
        assert len(fault.what) < 200
