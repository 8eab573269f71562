"""Markdown that holds whatever was said: its head is YAML, and no message reaches into the next one."""

from __future__ import annotations

import math

import msgspec
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from backends.errors import ErrorInfo
from backends.events import Cost, Energy, Timings, Usage
from tests.tui.chat.chat_files import TEXT, files
from tui.chat.exporting.chat_file import ChatFile
from tui.chat.exporting.export import Exported, branch
from tui.chat.exporting.front_matter import front_matter, quoted
from tui.chat.exporting.markdown import markdown
from tui.chat.exporting.markdown_safe import contained, escaped
from tui.chat.exporting.plain_text import text as plain_text
from tui.chat.storing.receipts import Receipt, receipt
from tui.chat.storing.stored import Conversation, StoredMessage

PIECES = st.sampled_from(
    ["```", "````", "~~~", "`", "``", "<b>", "</details>", "<!--", "-->", "<script>", "<pre>", "<?", "<![CDATA[",
     "<a\n", "- ", "> ", "    ", "\n", "\n\n", "1. ", "\\", "x", "# ", "---", "<https://a.b>", "[a]: b", "&lt;", "\t"]
)  # fmt: skip
MESSAGE = st.lists(PIECES | TEXT, max_size=12).map("".join)


def message(role: str, text: str, **more: object) -> StoredMessage:
    empty = dict.fromkeys(StoredMessage.__struct_fields__[:-2])
    values = {"id": "m", "conversation": "c", "reasoning": "", "state": "done", "created_at": 1e9}
    return StoredMessage(**{**empty, **values, "role": role, "text": text, **more})  # type: ignore[arg-type]


def chat(title: str = "title") -> Conversation:
    return Conversation("0123456789ab", title, 1e9, 2e9, "starter", "m")


def document(*said: StoredMessage, title: str = "title", paid: tuple[Receipt, ...] = (), thoughts: bool = True) -> str:
    return markdown(Exported(chat(title), said, paid), thoughts=thoughts)


def head_of(text: str) -> dict[str, object]:
    before, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert text.startswith("---\n")
    assert rest
    found = yaml.safe_load(before)
    assert isinstance(found, dict)
    return found


@given(TEXT)
@example("---\n# no: [title]")
@example("\ud7ff\ue000\ufeff\ufffe\U0001f600\U000e0001\x7f\x85\u2029")
def test_a_quoted_text_is_itself_again(text: str) -> None:
    assert yaml.safe_load(quoted(text)) == text
    assert "\n" not in quoted(text)
    if all(ord(character) <= 0xFFFF or character.isprintable() for character in text):
        assert msgspec.json.decode(quoted(text)) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0, max_value=1e12), TEXT)
def test_a_head_is_yaml(number: float, text: str) -> None:
    found = head_of(front_matter({"n": number, "t": text, "l": [{"a": text, "b": None}], "e": [], "y": True}) + "x")
    assert math.isclose(float(found["n"]), number, abs_tol=1e-9)  # type: ignore[arg-type]
    assert isinstance(found["n"], float)
    assert found | {"n": 0} == {"n": 0, "t": text, "l": [{"a": text, "b": None}], "e": [], "y": True}


@settings(max_examples=150, deadline=None)
@given(MESSAGE, MESSAGE, MESSAGE)
@example("a\n```py\nopen", "<!-- and", "</details>\n\n<script>")
@example("- ```\n  x\n\n```", "> ```", "`<b>\n\n`")
def test_no_message_reaches_beyond_its_place(question: str, thought: str, answer: str) -> None:
    written = document(
        message("user", question),
        message("assistant", answer, reasoning=thought, preset="starter", backend="echo"),
        message("user", "the end of it"),
    )
    tokens = MarkdownIt("commonmark").parse(written.split("\n---\n", 1)[1])
    top = [
        tokens[place + 1].content
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2" and token.level == 0
    ]
    who = [line.partition(" · ")[0] for line in top if line.endswith("2001-09-09 01:46") or "2001-09-0" in line]
    assert who == ["You", "starter", "You"]
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    thoughts = ["<details>\n<summary>Thought</summary>", "</details>"] if thought else []
    assert html == thoughts
    assert not any(child.type == "html_inline" for token in tokens for child in token.children or ())


@given(MESSAGE)
def test_markdown_without_danger_is_left_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(text.strip("\n") + "\n\n# end")
    html = any(t.type == "html_block" for t in tokens) or any(
        child.type == "html_inline" for t in tokens for child in t.children or ()
    )
    if not html and tokens[-1].type == "heading_close" and tokens[-1].level == 0:
        assert contained(text) == text.strip("\n")


def test_code_keeps_its_brackets_where_tags_are_shown() -> None:
    said = "Use `<b>` or\n\n```html\n<b>\n```\n\nnot <b>this</b>"
    assert contained(said) == "Use `<b>` or\n\n```html\n<b>\n```\n\nnot \\<b>this\\</b>"


@given(TEXT.map(lambda text: " ".join(text.split())))
def test_an_escaped_line_shows_as_it_is(line: str) -> None:
    shown = MarkdownIt("commonmark").parse(f"# {escaped(line)}")
    inline = next(token for token in shown if token.type == "inline")
    said = "".join(child.content for child in inline.children or () if child.type == "text")
    # Markdown shows a NUL as U+FFFD.
    assert " ".join(said.split()) == " ".join(line.replace("\x00", "\ufffd").split())


@settings(max_examples=40, deadline=None)
@given(files())
def test_any_chat_makes_a_document(file: ChatFile) -> None:
    asking = file.chat.asking or None
    known = {**msgspec.structs.asdict(file.chat), "asking": asking}
    said = tuple(StoredMessage(conversation=file.chat.id, **msgspec.structs.asdict(one)) for one in file.messages)
    paid = tuple(Receipt(conversation=file.chat.id, **msgspec.structs.asdict(one)) for one in file.receipts)
    whole = branch(Exported(Conversation(**known), said, paid))
    written = markdown(whole, thoughts=True)
    assert head_of(written)["title"] == file.chat.title
    assert "\x1b" not in written + plain_text(whole.chat, whole.messages, thoughts=True)


def test_the_head_adds_up_what_it_took_and_each_answer_says_its_own() -> None:
    energy, cost = Energy(3600.0, "measured"), Cost(0.0012, "USD", "assumed tariff", assumptions=("tariff",))
    usage, timings = Usage(10, 0, 3, 7), Timings(1.0, 2.0, 3.0, 23.6)
    paid = (
        receipt("r", "answer", 1e9, usage, timings, energy, cost),
        receipt("s", "summary", 1e9, usage, None, None, None),
    )
    answer = message(
        "assistant", "yes", preset="8b", backend="llama_cpp", model="m.gguf", usage=usage, timings=timings,
        energy=energy, cost=cost, state="stopped", reasoning="hm", thought_s=12.0,
    )  # fmt: skip
    written = document(message("user", "q"), answer, paid=paid, thoughts=False)
    head = head_of(written)
    assert (head["prompt_tokens"], head["reasoning_tokens"], head["energy_j"], head["time_s"]) == (20, 6, 3600.0, 6.0)
    assert (head["preset"], head["model"], head["backend"]) == ("8b", "m.gguf", "llama_cpp")
    assert head["cost"] == [{"amount": 0.0012, "currency": "USD"}]
    assert head["cost_assumed_tariff"] is True
    assert (head["answers"], head["answers_with_energy"]) == (1, 1)
    assert "## 8b · llama.cpp · " in written
    assert " · stopped\n" in written
    assert "hm" not in written
    assert "10 tokens read · 7 tokens written · 23.6 tok/s · 1.00 Wh · \\~$0.0012 (assumed tariff)" in written


def test_unknown_figures_are_null_and_several_who_answered_are_named() -> None:
    head = head_of(document(message("assistant", "a", preset="8b"), message("assistant", "b", model="gpt")))
    assert head["energy_j"] is None
    assert head["prompt_tokens"] is None
    assert head["cost"] == []
    by = [{"preset": "8b", "model": None, "backend": None}, {"preset": None, "model": "gpt", "backend": None}]
    assert head["answered_by"] == by


def test_where_a_model_lies_on_this_machine_is_not_told() -> None:
    written = document(
        message("assistant", "a", preset="8b", model="/data/models/m.gguf"),
        message("assistant", "b", preset="8b", model="/data/models/n.gguf"),
    )
    assert "/data" not in written
    head = head_of(written)
    assert (head["model"], [one["model"] for one in head["answered_by"]]) == ("n.gguf", ["m.gguf", "n.gguf"])


def test_what_the_model_did_not_see_and_what_failed_is_said() -> None:
    failed = message("assistant", "", state="failed", error=ErrorInfo("busy", "It *failed*", "here"))
    written = document(message("user", "q", context_start="They spoke."), failed)
    assert "*Not sent to the model from here up.*\n\nIn its place, a summary:\n\nThey spoke." in written
    assert "> **It \\*failed\\*: here**" in written
