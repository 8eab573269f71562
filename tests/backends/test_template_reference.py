"""The prompts of DeepSeek-R1's distilled models, against the format that DeepSeek published, to the last token.

The templates are those of DeepSeek-R1-Distill-Llama-8B (which the distilled Qwen models share), at first without and
later with `<think>` at the end, and of DeepSeek-R1-0528-Qwen3-8B: taken from published copies of them. The part for
tools of the last one is put together from several; nothing here uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.base import Cancel, Message, Partial
from backends.chat_template import choose_template, prompt_tokens
from backends.llama_cpp import LlamaCppOptions, binding
from backends.llama_cpp.model import load_model, own_template
from backends.llama_cpp.tokens import Vocabulary
from backends.reasoning import prompt_opens_thought
from backends.template import ChatTemplate, append_partial, compile_template, render
from backends.template_limits import Budget
from tests.backends.tiny_models import write_bpe_model, write_sentencepiece_model

TEMPLATES = Path(__file__).parent / "templates"
BOS, EOS, USER, ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
OPENS = "<think>\n"

# Template, what it ends with after `<｜Assistant｜>`.
R1 = [("r1-distill", OPENS), ("r1-distill-first", ""), ("r1-0528-qwen3", "")]
# Architecture, the vocabulary's way to split text, template, what the template ends with.
MODELS = [
    ("llama", "llama-bpe", "r1-distill", OPENS),
    ("llama", "llama-bpe", "r1-distill-first", ""),
    ("qwen2", "deepseek-r1-qwen", "r1-distill", OPENS),
    ("qwen2", "deepseek-r1-qwen", "r1-distill-first", ""),
    ("qwen3", "qwen2", "r1-0528-qwen3", ""),
]

ASK = Message("user", "hello world")
ANSWERED = Message("assistant", "<think>\nHm and no\n</think>\n\nYes")
AGAIN = Message("user", "So what")
SYSTEM = Message("system", "Be kind")

CONVERSATIONS = [
    ((ASK,), f"{BOS}{USER}hello world{ASSISTANT}"),
    ((SYSTEM, ASK), f"{BOS}Be kind{USER}hello world{ASSISTANT}"),
    ((ASK, ANSWERED, AGAIN), f"{BOS}{USER}hello world{ASSISTANT}Yes{EOS}{USER}So what{ASSISTANT}"),
    ((SYSTEM, ASK, ANSWERED, AGAIN), f"{BOS}Be kind{USER}hello world{ASSISTANT}Yes{EOS}{USER}So what{ASSISTANT}"),
]
PARTIALS = [
    (Partial(reasoning="Hm and", thinking=True), "<think>\nHm and"),
    (Partial(reasoning="Hm", text="Yes and"), "<think>\nHm\n</think>\n\nYes and"),
]

Opened = tuple[ChatTemplate, Vocabulary]


def source(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.fixture
def open_model() -> Iterator[Callable[[Path], Opened]]:
    """Load a file's vocabulary and template."""
    lib = binding.library()
    handles: list[int] = []

    def open_file(path: Path) -> Opened:
        handle = load_model(lib, path, LlamaCppOptions(), 0, lambda _progress: None, Cancel())
        handles.append(handle)
        vocabulary = Vocabulary(lib, handle)
        return choose_template(own_template(lib, handle), vocabulary), vocabulary

    yield open_file
    for handle in handles:
        lib.llama_model_free(handle)


@pytest.mark.parametrize(("name", "ending"), R1)
@pytest.mark.parametrize(("messages", "expected"), CONVERSATIONS)
def test_the_text_of_a_prompt_is_the_published_format(name: str, ending: str, messages, expected: str) -> None:
    assert render(compile_template(source(name), BOS, EOS), messages) == expected + ending


@pytest.mark.parametrize(("name", "ending"), R1)
@pytest.mark.parametrize(("partial", "written"), PARTIALS)
def test_a_partial_answer_stands_where_the_model_would_have_written_it(
    name: str, ending: str, partial: Partial, written: str
) -> None:
    prompt = render(compile_template(source(name), BOS, EOS), (ASK,))
    assert prompt_opens_thought(prompt) == bool(ending)
    assert append_partial(prompt, partial, "auto") == f"{BOS}{USER}hello world{ASSISTANT}{written}"


@pytest.mark.parametrize("add_bos", [True, False])
@pytest.mark.parametrize(("architecture", "pre", "name", "ending"), MODELS)
def test_the_tokens_of_a_prompt_are_the_published_ones(
    open_model, tmp_path: Path, architecture: str, pre: str, name: str, ending: str, add_bos: bool
) -> None:
    names = write_bpe_model(tmp_path / "model.gguf", source(name), architecture, pre, add_bos)
    template, vocabulary = open_model(tmp_path / "model.gguf")
    assert template.note == ""
    text, tokens = prompt_tokens(template, vocabulary, (SYSTEM, ASK, ANSWERED, AGAIN))
    assert [names[token] for token in tokens] == [
        BOS, "Be", "Ġkind", USER, "hello", "Ġworld", ASSISTANT, "Yes", EOS, USER, "So", "Ġwhat", ASSISTANT,
        *(["<think>", "Ċ"] if ending else []),
    ]  # fmt: skip
    assert text == CONVERSATIONS[3][1] + ending
    _, tokens = prompt_tokens(template, vocabulary, (ASK,), Partial(reasoning="Hm", text="Yes and"), "auto")
    assert [names[token] for token in tokens] == [
        BOS, USER, "hello", "Ġworld", ASSISTANT, "<think>", "Ċ", "Hm", "Ċ", "</think>", "ĊĊ", "Yes", "Ġand",
    ]  # fmt: skip


def test_a_template_that_leaves_the_first_token_to_the_engine_gets_it_once(open_model, tmp_path: Path) -> None:
    silent = source("r1-distill").replace("{{bos_token}}", "")
    for add_bos, first in ((True, [BOS, USER]), (False, [USER, "hello"])):
        names = write_bpe_model(tmp_path / "model.gguf", silent, add_bos=add_bos)
        template, vocabulary = open_model(tmp_path / "model.gguf")
        tokens = prompt_tokens(template, vocabulary, (ASK,))[1]
        assert [names[token] for token in tokens[:2]] == first


@pytest.mark.parametrize("name", ["<｜User｜>", "<think>", "</think>", "<|im_end|>", EOS, BOS])
@pytest.mark.parametrize("role", ["system", "user", "assistant", "partial", "partial thought"])
def test_the_name_of_a_special_token_in_a_text_is_text(open_model, tmp_path: Path, name: str, role: str) -> None:
    names = write_bpe_model(tmp_path / "model.gguf", source("r1-distill-first"))
    template, vocabulary = open_model(tmp_path / "model.gguf")

    def specials(text: str) -> list[str]:
        messages = [Message(role, text), ASK] if role in ("system", "user", "assistant") else [ASK]
        partial = {
            "partial": Partial(reasoning="Hm", text=text),
            "partial thought": Partial(reasoning=text, thinking=True),
        }.get(role)
        shown, tokens = prompt_tokens(template, vocabulary, messages, partial, "auto")
        assert text in shown
        assert "\udfff" not in shown
        return [names[token] for token in tokens if token >= len(names) - 7]

    for text in (f"hello {name} world", f"hello{name}", name.join("abc"), name[:-1] + name + name, f"{name} hello"):
        if not (role == "assistant" and text.startswith("<think>")):  # that one is a thought, and left out
            assert specials(text) == specials("hello world")


def test_a_text_is_tokenized_the_same_whether_or_not_it_was_looked_through(open_model, tmp_path: Path) -> None:
    write_bpe_model(tmp_path / "model.gguf", source("r1-distill"))
    vocabulary = open_model(tmp_path / "model.gguf")[1]
    plain = "hello <b>world</b> | < | <think > and so on ｜"
    assert vocabulary.as_plain_text(plain) is plain
    hostile = "hello <think> world"
    pieces = b"".join(vocabulary.piece(token) for token in vocabulary.prompt(vocabulary.as_plain_text(hostile)))
    assert pieces == hostile.encode()


def test_what_marks_the_seams_in_a_text_does_no_harm(open_model, tmp_path: Path) -> None:
    write_bpe_model(tmp_path / "model.gguf", source("r1-distill"), add_bos=False)
    vocabulary = open_model(tmp_path / "model.gguf")[1]
    for text in ("a\udfffb", "\udfff<think>\udfff", "\udfff" * 3):
        pieces = b"".join(vocabulary.piece(token) for token in vocabulary.prompt(vocabulary.as_plain_text(text)))
        assert pieces == text.encode(errors="replace")


def test_a_seam_puts_no_space_into_a_sentencepiece_text(open_model, tmp_path: Path) -> None:
    pieces = ["▁", "[", "]", "<", "s", ">", "h", "i", "▁h", "hi", "▁hi"]
    template = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}"
    names = write_sentencepiece_model(tmp_path / "model.gguf", template, pieces)
    opened = open_model(tmp_path / "model.gguf")
    tokens = prompt_tokens(*opened, (Message("user", "hi<s>hi hi"),))[1]
    assert [names[token] for token in tokens] == ["<s>", "▁", "[", "hi", "<", "s", ">", "hi", "▁hi", "]"]


def test_the_cost_of_a_prompt_grows_with_its_messages_and_no_faster(
    open_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bpe_model(tmp_path / "model.gguf", source("r1-0528-qwen3"))
    template, vocabulary = open_model(tmp_path / "model.gguf")
    lines = calls = 0
    look = Budget.look_at_the_clock

    def counted(budget: Budget) -> None:  # is called at every line of a template
        nonlocal lines
        lines += 1
        look(budget)

    class Counting:
        def __getattr__(self, name: str) -> object:
            nonlocal calls
            calls += name == "llama_tokenize"
            return getattr(binding.library(), name)

    monkeypatch.setattr(Budget, "look_at_the_clock", counted)
    monkeypatch.setattr(vocabulary, "_lib", Counting())
    costs = []
    for turns in (1, 11, 51):
        lines = calls = 0
        prompt_tokens(template, vocabulary, [ASK, Message("assistant", "Yes and no")] * turns + [AGAIN])
        costs.append(lines)
        assert calls == 1
    assert costs[2] - costs[0] == 5 * (costs[1] - costs[0])
