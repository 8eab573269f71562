"""Reading chats of other programs, and files that mean harm: whole chats or a problem that names its place."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backends.events import Timings, Usage
from tests.tui.chat.chat_files import files
from tui.chat.exporting.chat_file import ChatFile
from tui.chat.importing import reading as importing
from tui.chat.importing.incoming import CannotImport, Incoming, taken_apart
from tui.chat.importing.taking_in import take_in
from tui.chat.storing.store import Store
from tui.chat.storing.stored import new_id


def read(content: str | bytes | Any) -> list[Incoming | CannotImport]:
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    return list(importing.read(content if isinstance(content, bytes) else content.encode(), "file"))


def said(content: Any) -> list[list[tuple[str, str, str]]]:
    """Who said and thought what, chat by chat; the problem instead of a chat that has one."""
    return [
        [(one.role, one.text, one.reasoning) for one in found.file.messages]
        if isinstance(found, Incoming)
        else [("!", found.title, found.detail)]
        for found in read(content)
    ]


def refused(content: Any) -> str:
    """The one line of what is wrong."""
    try:
        (found,) = read(content)
    except CannotImport as problem:
        found = problem
    assert isinstance(found, CannotImport), found
    assert found.hint
    return f"{found.title} · {found.detail}"


def read_quietly(content: bytes) -> None:
    """Read, and let it be refused; any other exception is one too many."""
    with contextlib.suppress(CannotImport):
        for one in importing.read(content, "file"):
            assert isinstance(one, Incoming | CannotImport)


TWO = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
BOTH = [("user", "q", ""), ("assistant", "a", "")]


@pytest.mark.parametrize(
    ("content", "chats"),
    [
        (TWO, 1),
        ({"messages": TWO, "model": "m", "stream": True, "options": {"num_ctx": 1}}, 1),
        ([{"messages": TWO}, {"messages": TWO}], 2),
        ([TWO, TWO], 2),
        ('{"messages": %s}\n\n{"messages": %s}\n' % ((json.dumps(TWO),) * 2), 2),
        ("%s\n%s" % ((json.dumps(TWO),) * 2), 2),
        ("\n".join(map(json.dumps, TWO)), 1),
        ("\ufeff" + json.dumps(TWO), 1),
        (json.dumps(TWO).encode("utf-16"), 1),
        (json.dumps(TWO, indent=4).replace("\n", "\r\n"), 1),
    ],
    ids=range(10),
)
def test_lists_of_messages_in_every_form(content: Any, chats: int) -> None:
    assert said(content) == [BOTH] * chats


def test_thoughts_are_taken_apart_however_they_come() -> None:
    answers = [
        {"role": "assistant", "content": "a", "reasoning_content": "t"},
        {"role": "assistant", "content": "a", "reasoning": "t"},
        {"role": "assistant", "content": "a", "thinking": "t"},
        {"role": "assistant", "content": "<think>\nt\n</think>\n\na"},
        {"role": "assistant", "content": "t\n</think>\n\na"},
        {"role": "assistant", "content": [{"type": "text", "text": "<think>t</think>a"}], "reasoning": {"no": 1}},
    ]
    assert said(answers) == [[("assistant", "a", "t")] * 6]
    assert taken_apart("<think>never closed") == ("never closed", "")
    assert taken_apart("The tag `</think>` ends it.") == ("", "The tag `</think>` ends it.")
    assert said([{"role": "user", "content": "<think>mine</think>"}]) == [[("user", "<think>mine</think>", "")]]


def test_roles_and_parts_that_we_have_no_place_for_are_told() -> None:
    (found,) = read(
        {
            "title": "Weather",
            "model": "gpt",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "url": "x"}, "b"]},
                {"role": "user", "content": "c", "images": ["AAAA", "BBBB"]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "12°"},
                {"role": "function", "content": "12°"},
                {"role": "assistant", "content": "12°", "refusal": None},
            ],
        }
    )
    assert isinstance(found, Incoming)
    assert [(one.role, one.text, one.model) for one in found.file.messages] == [
        ("system", "Be brief.", None),
        ("user", "a\nb", None),
        ("user", "c", None),
        ("assistant", "12°", "gpt"),
    ]
    assert found.file.chat.title == "Weather"
    assert found.left_out == ("3 pictures or other parts", "1 call of a tool", "2 messages of a tool")


def test_the_same_messages_again_are_the_same_chat() -> None:
    store = Store()
    for how in ("imported", "same"):
        (one,) = read(TWO)
        assert isinstance(one, Incoming)
        assert take_in(store, one).how == how
    assert [message.text for message in store.branch(store.conversations()[0].id)] == ["q", "a"]
    assert store.receipts() == []
    store.close()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "The file is empty · file"),
        ("hello", "This is no file of chats · file"),
        ("42", "This is no file of chats · file"),
        ("[]", "There are no chats in it · file"),
        ("[1]", "This is no chat · file: [0]: an object or a list is expected"),
        ("{}", "This is no chat · file: it has no `messages`"),
        ({"messages": []}, "There are no messages in it · file"),
        ({"messages": 5}, "A chat cannot be read · file: messages: Expected `array`, got `int`"),
        ([{"role": 5, "content": ""}], "A chat cannot be read · file: [0].role: Expected `str`, got `int`"),
        ([{"role": "user", "content": {"a": 1}}], "file: [0].content: Expected `str | array | null`, got `object`"),
        ([{"role": "user"}, {"role": "martian", "content": "x"}], "file: messages[1].role is 'martian'"),
        ("{\n\n  oops}", "This is no valid JSON · file, line 3: "),
        ('{"messages": [', "This is no valid JSON · file: Input data was truncated"),
        (b'[{"role": "user",\n "content": "caf\xe9"}]', "The file is no text in UTF-8 · file, line 2: byte 0xe9"),
        ("[" * 100_000, "The file cannot be read · file: nested too deep"),
        ('{"messages":' + '{"a":' * 100_000, "The file cannot be read · file: nested too deep"),
        ({"format": "deepseek-tui chat", "version": 3}, "exported by a newer deepseek-tui · file: version 3"),
        ({"format": "deepseek-tui chats", "version": 9}, "exported by a newer deepseek-tui · file: version 9"),
        ({"format": "deepseek-tui chat", "version": 1}, "file: Object missing required field `chat`"),
        ({"format": "deepseek-tui chat", "version": 1, "chat": {"id": "../x"}}, "chat.id: Expected `str` matching"),
    ],
)  # fmt: skip
def test_what_is_wrong_names_its_place(content: Any, told: str) -> None:
    assert told in refused(content)


def test_one_bad_line_keeps_no_other_out() -> None:
    good = json.dumps({"messages": TWO})
    found = said(f"{good}\n{{oops\n{good}\n[3]\n{good}")
    assert [chat == BOTH for chat in found] == [True, False, True, False, True]
    assert found[1] == [("!", "This is no valid JSON", found[1][0][2])]
    assert found[1][0][2].startswith("file, line 2: ")
    assert found[3][0][2] == "file, line 4: [0]: Expected `object`, got `int`"


def test_a_files_name_means_nothing() -> None:
    for name in ("{x}.json", "a, line 7.json", "%s{0}"):
        (found,) = importing.read(b'[{"messages": 1}]', name)
        assert isinstance(found, CannotImport)
        assert found.detail.startswith(f"{name}: [0]: messages: ")
        with pytest.raises(CannotImport) as problem:
            list(importing.read(b"{\n\n}}", name))
        assert problem.value.detail.startswith(f"{name}, line 3: ")


def test_half_a_pair_of_surrogates_is_one_sign_and_a_whole_pair_a_character() -> None:
    found = said('[{"role": "user", "content": "a\\ud83d\\ude00b\\ud800c\\udfffd\\\\ud800e\\u0000"}]')
    assert found == [[("user", "a\U0001f600b\ufffdc\ufffdd\\ud800e\x00", "")]]


CHANGES: list[tuple[str, dict[str, Any] | Any, str]] = [
    ("messages[1].parent", "nobody", "messages[1].parent is no message of this chat"),
    ("messages[0].parent", "b", "its messages answer each other in a circle"),
    ("messages[1].id", "a", "two messages have the same id"),
    ("chat.head", "nobody", "chat.head is no message of this chat"),
    ("messages[1].id", "../../etc/passwd", "Expected `str` matching regex"),
    ("messages[1].role", "root", "Invalid enum value 'root'"),
    ("messages[1].state", "new", "Invalid enum value 'new'"),
    ("messages[1].text", None, "Expected `str`, got `null`"),
    ("messages[1].mood", "bad", "Object contains unknown field `mood`"),
    ("messages[1].created_at", -1, "Expected `float` >= 0"),
    ("messages[1].created_at", 1e300, "Expected `float` <= "),
    ("messages[1].usage", {"prompt_tokens": "many"}, "Expected `int | null`, got `str`"),
    ("receipts", [{"id": "r", "kind": "answer", "at": 1, "message": "zz"}], "receipts[0].message is no message"),
    ("receipts", [{"id": "r", "kind": "answer", "at": 1}] * 2, "two receipts have the same id"),
    ("receipts", [{"id": "r", "kind": "gift", "at": 1}], "Invalid enum value 'gift'"),
]


@pytest.mark.parametrize(("where", "value", "told"), CHANGES)
def test_a_file_of_ours_that_was_changed_never_comes_in_half(where: str, value: Any, told: str) -> None:
    file: dict[str, Any] = {
        "format": "deepseek-tui chat",
        "version": 1,
        "chat": {"id": "c", "title": "t", "created_at": 1, "updated_at": 1, "head": "b"},
        "messages": [
            {"id": "a", "role": "user", "created_at": 1, "text": "q"},
            {"id": "b", "role": "assistant", "created_at": 1, "text": "a", "parent": "a"},
        ],
        "receipts": [],
    }
    whole = read(file)[0]
    assert isinstance(whole, Incoming)
    target: Any = file
    *path, last = where.replace("[", ".").replace("]", "").split(".")
    for key in path:
        target = target[int(key)] if key.isdigit() else target[key]
    target[last] = value
    store = Store()
    (one,) = read(file)
    if isinstance(one, Incoming):
        with pytest.raises(CannotImport) as problem:
            take_in(store, one)
        one = problem.value
    assert told in one.detail
    assert [store.rows(f"SELECT * FROM {table}") for table in ("conversation", "message", "receipt")] == [[], [], []]
    assert take_in(store, whole).how == "imported"
    store.close()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
@example(b">>> ")
@example(b'[{"role":"user"')
def test_no_bytes_make_it_crash(content: bytes) -> None:
    read_quietly(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["user", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "messages", "type", "text", "format", "chats", "title", "thinking"]),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
@example({"format": "deepseek-tui chats", "version": 1, "chats": 5})
@example([{"role": "user", "content": [{"type": "text", "text": None}]}])
def test_no_json_makes_it_crash(content: Any) -> None:
    read_quietly(json.dumps(content).encode())


@settings(max_examples=40, deadline=None)
@given(file=files(), cut=st.floats(0, 1), change=st.characters())
def test_a_damaged_export_is_a_chat_or_a_problem(file: ChatFile, cut: float, change: str) -> None:
    written = msgspec.json.encode(file).decode()
    place = int(cut * len(written))
    for damaged in (written[:place], written[:place] + change + written[place + 1 :]):
        read_quietly(damaged.encode("utf-8", "replace"))


def test_a_file_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "too large for a transcript · file: 17 MB" in refused(">>> hm\n" * (17 * 10**6 // 7))
    many = json.dumps([{"role": "user", "content": ""}] * 200_001)
    assert refused(many) == "The chat is too long · file: 200,001 messages, and 200,000 can be"
    monkeypatch.setattr(importing, "MOST_BYTES", 10)
    assert refused(TWO) == "The file is too large · file: at most 0 MB are read at once"


def test_a_file_of_nothing_but_small_things_takes_no_memory_and_no_screens_full_of_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = b'{"role": "user"}\n' + b"{}\n" * 300_000
    tracemalloc.start()
    assert refused(lines).startswith("A chat cannot be read · file, line 2:")
    assert tracemalloc.get_traced_memory()[1] < 4 * len(lines)
    tracemalloc.stop()
    monkeypatch.setattr(importing, "MOST_ITEMS", 1_000)
    assert refused("[" + "1," * 1_001 + "1]").startswith("This is no list of chats or messages · file: ")
    monkeypatch.setattr(importing, "MOST_FAILED", 3)
    bad = '{"messages": 1}\n'
    with pytest.raises(CannotImport, match="Too much") as problem:
        read(bad + json.dumps({"messages": TWO}) + "\n" + bad * 9)
    assert problem.value.detail == "file: 3 chats; what comes after them was left out"


@pytest.mark.parametrize(
    "file",
    [
        [{"role": "x" * 10**6, "content": "q"}],
        {"format": "deepseek-tui chat", "version": 10**4000},
        {"format": "deepseek-tui chat", "version": 1, "x" * 10**6: 1},
    ],
)
def test_an_error_is_a_line_and_not_a_screen_full(file: Any) -> None:
    assert len(refused(file)) < 300


def test_figures_that_no_column_holds_do_not_keep_a_chat_out() -> None:
    chat = new_id()
    usage = Usage(prompt_tokens=10**30)
    file = {
        "format": "deepseek-tui chat", "version": 1,
        "chat": {"id": chat, "title": "t", "created_at": 1, "updated_at": 1, "head": "m"},
        "messages": [{"id": "m", "role": "assistant", "created_at": 1, "usage": {"prompt_tokens": 10**30}}],
        "receipts": [{"id": "r", "kind": "answer", "at": 1, "prompt_tokens": 10**30, "load_s": 1e300}],
    }  # fmt: skip
    (one,) = read(file)
    assert isinstance(one, Incoming)
    store = Store()
    assert take_in(store, one).how == "imported"
    assert store.branch(chat)[0].usage == usage
    assert store.receipts()[0].prompt_tokens is None
    assert Timings(store.receipts()[0].load_s).load_s == 1e300
    store.close()
