"""`chats export` and `chats import`: to files and through pipes, and never half or twice."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.tui.commands.chats_here import begin, titles
from tests.tui.commands.in_process import runner
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Ran, Run, Start

ASKED = Asked("starter", "echo", "model")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line in this process, in an empty folder."""
    return runner(monkeypatch, capsys, tmp_path)


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be on another machine."""
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(tmp_path / "another"))


def test_markdown_is_what_comes_without_a_word(here: Run) -> None:
    begin("Why?")
    out = here("chats", "export", "last").out
    assert out.startswith('---\ntitle: "Why?"\nid: "')
    assert "\n## You · " in out


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.md", "---\n"), ("a", "---\n"), ("a.txt", "Why?\n"), ("a.json", "{\n"), ("a.jsonl", '{"format":')],
)
def test_the_files_name_says_the_format(here: Run, tmp_path: Path, name: str, begins: str) -> None:
    begin("Why?")
    ran = here("chats", "export", "last", "-o", name)
    assert (ran.status, ran.out) == (0, f"Exported: Why? → {name}\n")
    assert (tmp_path / name).read_text().startswith(begins)
    assert here("chats", "export", "last", "-o", name).status == 1
    assert here("chats", "export", "last", "-o", name, "--force", "--json").json["exported"][0]["file"] == name


def test_all_of_them_move_to_another_machine(here: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ids = {begin("one", "two"), begin("three")}
    here("chats", "archive", "last")
    here("chats", "export", "--all", "-o", "all.json")
    lines = here("chats", "export", "--all", "--format", "jsonl").out
    assert {json.loads(line)["chat"]["id"] for line in lines.splitlines()} == ids
    elsewhere(monkeypatch, tmp_path)
    ran = here("chats", "import", "all.json")
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "2 chats came in.")
    assert here("chats", "export", "--all", "--format", "jsonl").out == lines
    (tmp_path / "all.jsonl").write_text(lines)
    ran = here("chats", "import", "all.jsonl", "--json")
    assert [chat["how"] for chat in ran.json["chats"]] == ["same", "same"]
    assert ran.json["imported"] == 0


def test_all_of_them_into_a_folder_are_a_file_each(here: Run, tmp_path: Path) -> None:
    begin("Same title")
    begin("Same title")
    assert here("chats", "export", "--all", "-o", "out").out == "Exported 2 chats → out\n"
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(files) == 2
    assert all("same-title" in name and name.endswith(".md") for name in files)
    assert here("chats", "export", "--all", "-o", "out").status == 1
    assert here("chats", "export", "--all", "-o", "out", "--force").status == 0
    here("chats", "export", "--all", "--format", "json", "-o", "json/")
    assert here("chats", "import", *map(str, (tmp_path / "json").iterdir())).status == 0
    assert here("chats", "export", "last", "-o", "out/", "--format", "text").status == 0
    assert len(list((tmp_path / "out").glob("*.txt"))) == 1


def test_one_branch_can_be_named(here: Run) -> None:
    chat = begin("one", "two")
    first = here("chats", "show", chat, "--json").json["messages"][1]["id"]
    assert "two" not in here("chats", "export", chat, "--branch", first[:8]).out
    assert "two" not in here("chats", "show", chat, "--branch", first[:8]).out
    assert "ENDS WITH" in here("chats", "show", chat, "--branches").out
    (branch,) = here("chats", "show", chat, "--branches", "--json").json["branches"]
    assert (branch["messages"], branch["shown"]) == (4, True)
    assert len(json.loads(here("chats", "export", chat, "--branch", first, "--json").out)["messages"]) == 2
    assert "no such message" in here("chats", "export", chat, "--branch", "zz").err


@pytest.mark.parametrize(
    "arguments", [(), ("last", "--all"), ("--all",), ("--all", "--branch", "x"), ("--all", "--format", "text")]
)
def test_what_makes_no_sense_is_wrong_usage(here: Run, arguments: tuple[str, ...]) -> None:
    begin("one")
    assert here("chats", "export", *arguments).status == 2


def test_an_import_says_what_came_in_and_what_did_not(here: Run, tmp_path: Path) -> None:
    good: Any = {"messages": [{"role": "user", "content": "good \x1b[31m"}, {"role": "tool", "content": "x"}]}
    (tmp_path / "mixed.jsonl").write_text(f"{json.dumps(good)}\n{{oops\n")
    ran = here("chats", "import", "mixed.jsonl", "nowhere.json")
    assert ran.status == 1
    assert ran.out.splitlines() == [
        "Imported: good ␛[31m (1 message)",
        "    left out, because only text is kept: 1 message of a tool",
        "1 chat came in, 2 could not be read.",
    ]
    assert "This is no valid JSON\nmixed.jsonl, line 2: " in ran.err
    assert "nowhere.json: No such file" in ran.err
    again = here("chats", "import", "mixed.jsonl", "--json")
    assert again.status == 1
    assert (again.json["imported"], [one["title"] for one in again.json["failed"]]) == (0, ["This is no valid JSON"])
    assert titles(here) == ["good \x1b[31m"]


def test_another_chat_of_the_same_id_is_told_and_taken_in_only_as_new(
    here: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chat = begin("one")
    here("chats", "export", chat, "-o", "old.json")
    begin("two", chat=chat)
    here("chats", "export", chat, "-o", "new.json")
    elsewhere(monkeypatch, tmp_path)
    here("chats", "import", "old.json")
    ran = here("chats", "import", "new.json")
    assert ran.status == 1
    assert ran.out.startswith(
        "Here already, and different: one (2 messages only in the file, another branch shown here)"
    )
    assert ran.out.endswith("\n0 chats came in, 1 different here.\n")
    assert here("chats", "import", "new.json", "--as-new").status == 0
    assert titles(here) == ["one", "one"]
    assert {chat["messages"] for chat in here("chats", "--json").json["chats"]} == {2, 4}


def test_killed_on_the_way_no_chat_is_there_by_half_and_again_brings_the_rest(
    run: Run, start: Start, wait_until: Callable[[Callable[[], object]], None], tmp_path: Path
) -> None:
    lines = [
        json.dumps({"messages": [{"role": "user", "content": f"{chat}.{number}"} for number in range(30)]})
        for chat in range(80)
    ]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    store = Store()
    for _ in range(2):
        before = store.count()
        importing = start("chats", "import", "many.jsonl")
        wait_until(lambda before=before: store.count() > before)  # type: ignore[misc]
        importing.kill()
        importing.wait()
    here = store.conversations(-1)
    assert 0 < len(here) < 80
    assert {store.branch_length(chat.id) for chat in here} == {30}
    store.close()
    ran = run("chats", "import", "many.jsonl")
    assert ran.out.endswith(f"\n{80 - len(here)} chats came in, {len(here)} here already.\n")
    assert run("chats", "check").out.endswith("Nothing is wrong.\n")


def test_they_go_through_a_pipe(run: Run, tmp_path: Path) -> None:
    begin("天 one")
    exported: Ran = run("chats", "export", "--all", "--format", "jsonl", env={"LC_ALL": "C", "PYTHONUTF8": "0"})
    home = {"DEEPSEEK_TUI_HOME": str(tmp_path / "another")}
    ran = run("chats", "import", "-", stdin=exported.out.encode(), env=home)
    assert ran.out.endswith("1 chat came in.\n")
    assert run("chats", "import", "-", stdin=b"", env=home).err.startswith("deepseek-tui: The file is empty\nstandard")


def test_a_disk_that_is_full_is_told_and_is_no_success(start: Start) -> None:
    begin("one")
    with Path("/dev/full").open("wb") as full:
        exporting = start("chats", "export", "last", "--format", "json", stdout=full)
        _, said = exporting.communicate(timeout=30)
    assert exporting.returncode == 1
    assert said.decode().splitlines()[:2] == [
        "deepseek-tui: The text cannot be written",
        "standard output: No space left on device",
    ]


def test_on_a_terminal_a_document_steers_nothing(run: Run, tmp_path: Path) -> None:
    store = Store()
    row = store.begin(new_id(), ASKED, "\x1b]0;evil\x07 q\u202e")
    store.close()
    for form in ("md", "text", "json"):
        parent, child = pty.openpty()
        command = ["-P", "-m", "tui", "chats", "export", row.conversation, "--format", form]
        subprocess.run([sys.executable, *command], stdout=child, cwd=tmp_path, check=True, timeout=30)
        os.close(child)
        said = os.read(parent, 65536).decode()
        os.close(parent)
        assert "evil" in said
        assert not {"\x1b", "\x07", "\u202e"} & set(said)
