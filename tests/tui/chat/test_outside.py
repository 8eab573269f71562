"""A text lent to an editor: which one, what it gets, and what comes back."""

from __future__ import annotations

import stat

import pytest

from backends.errors import Problem
from tui.chat import drafts, outside
from tui.chat.drafts import Draft


def find(*names: str):
    return lambda name: f"/bin/{name}" if name in names else None


def test_the_settings_are_asked_first_then_the_environment_then_what_is_usual() -> None:
    here = find("mine", "visual", "editor", "vim", "vi")
    variables = {"VISUAL": "visual --wait", "EDITOR": "editor"}
    assert outside.editor("mine 'a b'", variables, here) == ("mine", "a b")
    assert outside.editor("", variables, here) == ("visual", "--wait")
    assert outside.editor(" ", {"VISUAL": "", "EDITOR": "editor"}, here) == ("editor",)
    assert outside.editor("", {}, here) == ("vim",)


@pytest.mark.parametrize(
    ("setting", "environment", "told"),
    [("gone -x", {}, "config.toml: there is no program 'gone'"), ("", {"EDITOR": "gone"}, "EDITOR: there is no"),
     ("it's", {}, "No closing quotation"), ("", {}, "None of nano, vim, vi")],
)  # fmt: skip
def test_one_that_is_not_there_is_a_problem_that_names_where_it_was_named(setting, environment, told) -> None:
    with pytest.raises(Problem) as caught:
        outside.editor(setting, environment, find())
    assert told in caught.value.detail
    assert "config.toml" in caught.value.hint


def test_the_file_is_the_owners_alone_and_goes_when_the_text_is_back() -> None:
    lent = outside.lend("a", "hello\n你好")
    assert stat.S_IMODE(lent.path.stat().st_mode) == 0o600
    assert (lent.path.suffix, lent.path.read_text()) == (".md", "hello\n你好\n")
    assert outside.take(lent) == "hello\n你好"
    outside.close(lent)
    assert not list(drafts.folder().iterdir())


def test_two_screens_do_not_have_one_text_in_two_editors_and_nobody_takes_it_from_the_first() -> None:
    lent = outside.lend("a", "hello")
    with pytest.raises(Problem, match="Another screen"):
        outside.lend("a", "mine")
    assert drafts.load("a").empty
    assert lent.path.read_text() == "hello\n"
    outside.close(lent)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"x" * (outside.LARGEST_BYTES + 1)], ids=["no text", "too large"])
def test_what_is_no_text_is_told_and_stays_in_its_file(raw: bytes) -> None:
    lent = outside.lend(None, "hello")
    lent.path.write_bytes(raw)
    with pytest.raises(Problem) as caught:
        outside.take(lent)
    assert str(lent.path) in caught.value.detail
    outside.close(lent, kept=True)
    assert lent.path.exists()


@pytest.mark.parametrize(
    ("after", "status", "text", "said"),
    [
        ("after", 0, "after", ""),
        ("before", 0, "before", ""),
        (" ", 0, "before", "Nothing came back"),
        ("after", 1, "before", "ended with an error"),
        ("after", -9, "after", "What it had saved is here"),
        ("before", -9, "before", "ended with an error"),
        ("", -9, "before", "ended with an error"),
    ],
)
def test_an_editor_that_says_it_failed_changes_nothing_and_one_that_was_killed_loses_nothing(
    after: str, status: int, text: str, said: str
) -> None:
    back = outside.back("before", after, status)
    assert back.text == text
    assert said in back.said


def test_what_an_editor_saved_when_it_was_hung_up_on_is_taken_in() -> None:
    drafts.save("a", Draft("before", at=1.0))
    (drafts.folder() / "a.md").write_text("saved\n")
    (drafts.folder() / "a.md.save").write_text("and the rest\n")
    assert drafts.load("a").text == "and the rest"
    assert [file.name for file in drafts.folder().iterdir()] == ["a.json"]
