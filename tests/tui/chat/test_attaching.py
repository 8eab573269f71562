"""`@file`: what is named goes along, whole and fenced; what cannot is told and never waited for."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.chat import attaching
from tui.chat.attaching import CannotAttach


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_file_is_named_and_fenced_behind_what_is_typed(here: Path) -> None:
    (here / "notes.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo \xe4\xbd\xa0")
    assert attaching.expanded("see @notes.txt, please") == (
        "see @notes.txt, please\n\nnotes.txt:\n```\none\ntwo 你\n```"
    )


def test_names_with_blanks_are_quoted_and_the_users_folder_is_known(here: Path) -> None:
    (here / "my notes.md").write_text("a\n")
    home = Path(os.environ["HOME"])
    (home / "b.md").write_text("b\n")
    whole = attaching.expanded('@"my notes.md" and @~/b.md and again @~/b.md')
    assert whole.endswith("my notes.md:\n```\na\n```\n\n~/b.md:\n```\nb\n```")


@pytest.mark.parametrize(
    "text",
    [
        "mail me@example.org",
        "ask @john about it",
        "a @ b",
        "@",
        "@@",
        '@""',
        "@property",
        "x@notes.txt",
        "@\0",
        "@" + "a" * 300,
        "@" + "a/" * 3000,
        "@x" + ")" * 5000,
    ],
)
def test_an_at_in_prose_or_an_address_is_no_file(text: str, here: Path) -> None:
    (here / "notes.txt").write_text("secret")
    assert attaching.expanded(text) == text


def test_what_looks_like_a_path_and_is_not_there_is_told() -> None:
    for text in ("@nots.txt", "@./x", "@~/nothing", '@"some thing"', "@folder/file"):
        with pytest.raises(CannotAttach, match="there is no such file"):
            attaching.look(f"see {text} please")


def test_what_is_no_text_of_a_file_is_told_at_once_and_not_sent(here: Path) -> None:
    (here / "binary").write_bytes(b"\x7fELF\0\0")
    (here / "latin").write_bytes(b"caf\xe9")
    (here / "large").write_bytes(b"x" * (attaching.LARGEST_BYTES + 1))
    (here / "folder").mkdir()
    os.mkfifo(here / "pipe")
    (here / "loop").symlink_to(here / "loop")
    (here / "device").symlink_to("/dev/zero")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    told = {
        "binary": "binary", "latin": "no UTF-8", "large": "larger than 256 KB", "folder": "a folder",
        "pipe": "no file with text", "device": "no file with text", "socket": "no file with text",
        "loop": "symbolic links",
    }  # fmt: skip
    for name, why in told.items():
        with pytest.raises(CannotAttach, match=why):
            attaching.expanded(f"@{name}")
    listening.close()


def test_a_file_that_may_not_be_read_is_told(here: Path) -> None:
    (here / "mine").write_text("x")
    (here / "mine").chmod(0)
    if os.access(here / "mine", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(CannotAttach, match="Permission"):
        attaching.expanded("@mine")


def test_a_file_of_the_kernel_without_a_size_goes_along() -> None:
    assert "MemTotal" in attaching.expanded("@/proc/meminfo")


def test_how_much_it_is_is_known_before_it_is_read(here: Path) -> None:
    (here / "a.txt").write_text("x" * 4000)
    (one,) = attaching.look("@a.txt @a.txt")
    assert (one.name, one.size, one.tokens, one.text) == ("a.txt", 4000, 1000, None)


@given(st.text(alphabet=st.sampled_from("`a\n ~@"), max_size=60))
def test_whatever_is_in_a_file_its_fence_ends_where_the_file_ends(content: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", newline="") as file:
        file.write(content)
        file.flush()
        whole = attaching.expanded(f"@{file.name}")
    fence = re.search(r":\n(`{3,})\n", whole)[1]
    body = whole.partition(f":\n{fence}\n")[2]
    assert body.endswith(fence)
    assert fence not in body[: -len(fence)]
    assert body.removesuffix(fence).removesuffix("\n") == content.removesuffix("\n")


@given(st.text())
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with contextlib.suppress(CannotAttach):
        assert attaching.expanded(text).startswith(text.rstrip())


def test_names_are_offered_as_they_are_typed(here: Path) -> None:
    for name in ("notes.txt", "Notes two.md", ".hidden", "not\x1b[31m"):
        (here / name).write_text("")
    (here / "node").mkdir()
    (here / "node" / "inner.js").write_text("")
    assert attaching.offers("@no") == ["@node/", "@notes.txt"]
    assert attaching.offers("@N") == ['@"Notes two.md"']
    assert attaching.offers('@"Notes t') == ['@"Notes two.md"']
    assert attaching.offers("@node/") == ["@node/inner.js"]
    assert attaching.offers("@.h") == ["@.hidden"]
    assert attaching.offers("@nowhere/x") == attaching.offers("@~nobody-here/x") == []
    assert ".hidden" not in "".join(attaching.offers("@"))


def test_a_name_is_begun_only_at_the_beginning_of_a_word() -> None:
    assert attaching.begun("see @no") == "@no"
    assert attaching.begun('see @"my no') == '@"my no'
    assert attaching.begun("me@no") is None
    assert attaching.begun("see @no and") is None
