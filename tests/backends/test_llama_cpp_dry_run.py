"""The engine's own count before a load: as its log of the true load, and as the formula."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import remembered
from backends.base import Cancel
from backends.gguf.files import read_shape
from backends.llama_cpp import LlamaCppOptions, binding, dry_run, loading, offload
from backends.llama_cpp.binding import GpuDevice
from backends.llama_cpp.context import setup_of
from backends.llama_cpp.logs import buffers
from backends.llama_cpp.model import Held, without_weights
from backends.llama_cpp.options import KvCache
from backends.planning.memory import compute_bytes, engine_layers, kv_bytes, place
from backends.planning.result import MARGIN_BYTES
from tests.backends.stand_in_card import stand_in_card
from tests.gguf_files import QWEN_1_5B, Model, sparse_model

MIB = 1024**2
# The log rounds to a hundredth of a MiB.
PRINTED = 0.0051 * MIB
SMALL = Model("small", "qwen2", 6, 512, 1024, 8, 2, 600, merges=100, head=64)
SETUPS = [
    {"context": 512},
    {"context": 4096, "kv_cache": "q8_0"},
    {"context": 2048, "kv_cache": "q4_0", "batch": 128},
    {"context": 2048, "flash_attention": "off"},
    {"context": 8192, "ubatch": 64, "flash_attention": "on"},
]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> GpuDevice:
    return stand_in_card(monkeypatch)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return sparse_model(tmp_path / "small.gguf", SMALL)


def wished(**options: object) -> LlamaCppOptions:
    return msgspec.convert({"threads": 1, **options}, LlamaCppOptions)


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list that grows with each dry run that is not remembered."""
    runs: list[int] = []
    true = dry_run._log_of

    def counted(lib, path, options, gpu, layers, shape, held) -> list[str]:
        runs.append(layers)
        return true(lib, path, options, gpu, layers, shape, held)

    monkeypatch.setattr(dry_run, "_log_of", counted)
    return runs


@pytest.mark.parametrize("options", SETUPS)
def test_what_is_counted_is_what_the_true_load_takes(small: Path, options: dict[str, object]) -> None:
    lib, asked = binding.library(), wished(**options)
    counted = dry_run.dry_run(lib, small, asked, None, 0, read_shape(small))
    opened = loading.open_model(lib, small, asked, 0, lambda _progress: None, Cancel())
    took = buffers(binding.log.lines())
    opened.free()
    assert counted is not None
    assert counted.compute == {"CPU": took["CPU compute"]}
    assert sum(size for size, _layers in counted.kv) == sum(size for name, size in took.items() if name.endswith(" KV"))


@pytest.mark.parametrize("options", SETUPS)
def test_count_and_formula_agree(stand_in: GpuDevice, tmp_path: Path, options: dict[str, object]) -> None:
    path = sparse_model(tmp_path / "model.gguf", QWEN_1_5B)
    shape, asked = read_shape(path), wished(**options)
    setup = setup_of(asked)
    counted = dry_run.dry_run(binding.library(), path, asked, None, 0)
    assert counted is not None
    assert counted.compute["CPU"] == pytest.approx(compute_bytes(shape, setup), rel=0.002)
    assert counted.kv == ((pytest.approx(kv_bytes(shape, setup), abs=PRINTED), 28),)
    lib = binding.library()
    for blocks in (3, 28):
        planned = place(shape, setup, engine_layers(blocks)).card
        scratch = place(shape, setup, engine_layers(28)).card.overhead
        on_card = dry_run.card_bytes(lib, path, asked, stand_in, shape, setup, blocks)
        # The stand-in has the buffers of both sides under one name.
        both = dry_run.dry_run(lib, path, asked, stand_in, engine_layers(blocks))
        assert both is not None
        assert on_card == planned.weights + planned.kv + both.compute["CPU"] + scratch
        less = dry_run.card_bytes(lib, path, asked, stand_in, shape, setup, blocks, ("ffn_gate", "ffn_up"))
        assert on_card - less == sum(shape.blocks[28 - blocks].feed_forward[:2])


def test_a_count_needs_no_vocabulary(starter_gguf: Path, tmp_path: Path) -> None:
    lib = binding.library()
    for path in (starter_gguf, sparse_model(tmp_path / "model.gguf", QWEN_1_5B, "Q3_K_S")):
        asked, shape = wished(context=8192, kv_cache="q8_0"), read_shape(path)
        lines = dry_run._log_of(lib, path, asked, None, 0, shape)
        assert dry_run.read_sizes(lines) == dry_run.read_sizes(dry_run._log_of(lib, path, asked, None, 0, None))
        with without_weights(lib, path, None, 0, shape) as model:
            assert lib.llama_vocab_type(lib.llama_model_get_vocab(model)) == lib.LLAMA_VOCAB_TYPE_NONE


def test_a_count_is_remembered_until_the_file_or_the_options_change(
    stand_in: GpuDevice, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, lib = count_runs(monkeypatch), binding.library()
    first = dry_run.dry_run(lib, small, wished(), stand_in, 4)
    assert dry_run.dry_run(lib, small, wished(), stand_in, 4) == first
    assert runs == [4]
    dry_run.dry_run(lib, small, wished(), stand_in, 5)
    for change in ({"context": 512}, {"kv_cache": "q8_0"}, {"flash_attention": "off"}, {"ubatch": 64}, {"batch": 64}):
        dry_run.dry_run(lib, small, wished(**change), stand_in, 4)
    dry_run.dry_run(lib, small, wished(), msgspec.structs.replace(stand_in, description="another"), 4)
    dry_run.dry_run(lib, small, wished(), stand_in, 4, None, Held(3, ("ffn_up",)))
    assert runs == [4, 5, 4, 4, 4, 4, 4, 4, 4]
    sparse_model(small, dataclasses.replace(SMALL, layers=7))
    dry_run.dry_run(lib, small, wished(), stand_in, 4)
    monkeypatch.setattr(dry_run, "version", lambda: "0.9.9")
    dry_run.dry_run(lib, small, wished(), stand_in, 4)
    assert len(runs) == 11
    dry_run.dry_run(lib, small, wished(threads=2, mmap=False, saved_chats_gib=0), stand_in, 4)
    assert len(runs) == 11


def test_trouble_is_no_trouble(stand_in: GpuDevice, small: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    lib, shape = binding.library(), read_shape(small)
    setup = setup_of(wished())
    damaged = small.with_name("damaged.gguf")
    damaged.write_bytes(b"GGUF" + b"\xff" * 500)
    assert dry_run.dry_run(lib, damaged, wished(), stand_in, 4) is None
    assert dry_run.dry_run(lib, small.with_name("absent.gguf"), wished(), stand_in, 4) is None
    assert capfd.readouterr().err == ""
    assert binding.log.echo
    elsewhere = msgspec.structs.replace(stand_in, name="CUDA0")
    assert dry_run.card_bytes(lib, small, wished(), elsewhere, shape, setup, 3) is None
    with monkeypatch.context() as patch:
        patch.setattr(dry_run, "create_context", lambda *_arguments: 1 / 0)
        assert dry_run.dry_run(lib, small, wished(context=512), stand_in, 4) is None
    assert dry_run.dry_run(lib, small, wished(context=512), stand_in, 4) is not None


def test_a_count_that_ended_the_process_is_not_tried_again(
    stand_in: GpuDevice, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_arguments: object) -> None:
        raise KeyboardInterrupt  # nothing after it is run, as when the engine aborts

    with monkeypatch.context() as patch:
        patch.setattr(dry_run, "_log_of", dying)
        with pytest.raises(KeyboardInterrupt):
            dry_run.dry_run(binding.library(), small, wished(), stand_in, 4)
    runs = count_runs(monkeypatch)
    assert dry_run.dry_run(binding.library(), small, wished(), stand_in, 4) is None
    assert runs == []


@pytest.mark.parametrize("value", ["begun", 3, {"compute": {"CPU": "1"}, "kv": []}, {"compute": []}, [1, 2]])
def test_strange_remembered_counts_are_no_counts(
    stand_in: GpuDevice, small: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setattr(remembered, "read", lambda _kind, _key: value)
    assert dry_run.dry_run(binding.library(), small, wished(), stand_in, 4) is None


def test_layers_with_a_window_are_counted_as_if_the_largest_were_on_the_card(small: Path) -> None:
    shape, setup = read_shape(small), setup_of(wished(context=8192))
    found = dry_run.Sizes({}, ((40 * MIB, 2), (8 * MIB, 4)))
    assert [round(dry_run._kv_on_card(found, shape, setup, blocks) / MIB) for blocks in (1, 2, 3, 6)] == [
        20,
        40,
        42,
        48,
    ]


def test_the_log_of_several_devices_and_caches_is_read() -> None:
    lines = [
        "llama_kv_cache_iswa: creating non-SWA KV cache, size = 8192 cells",
        "llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB",
        "llama_kv_cache: size =  160.00 MiB (  8192 cells,   8 layers,  1/1 seqs), K (f16):   80.00 MiB, V (f16): 80",
        "llama_kv_cache: size =   60.00 MiB (  1536 cells,  40 layers,  1/1 seqs), K (f16):   30.00 MiB, V (f16): 30",
        "sched_reserve:      CUDA0 compute buffer size =   301.75 MiB",
        "sched_reserve:  CUDA_Host compute buffer size =    26.01 MiB",
        "sched_reserve: graph: nodes = 998, splits = 1",
    ]
    found = dry_run.read_sizes(lines)
    assert found.compute == {"CUDA0": round(301.75 * MIB), "CUDA_Host": round(26.01 * MIB)}
    assert found.kv == ((160 * MIB, 8), (60 * MIB, 40))


@given(st.lists(st.text(max_size=80)))
def test_any_log_is_read(lines: list[str]) -> None:
    dry_run.read_sizes(lines)


def test_a_load_left_to_the_plan_asks_once_and_one_on_the_processor_never(
    stand_in: GpuDevice, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, lib = count_runs(monkeypatch), binding.library()

    def load(gpu: GpuDevice | None, **options: object) -> int:
        notes: list[str] = []
        opened = loading.open_on(lib, gpu, starter_gguf, wished(**options), lambda _p: None, Cancel(), notes)
        opened.free()
        return opened.engine_layers

    assert load(None) == load(stand_in, gpu_layers=0) == 0
    assert load(stand_in, gpu_layers=5) == 5
    assert runs == []
    assert load(stand_in) == load(stand_in) == 31
    assert runs == [31]


@pytest.fixture
def true_card() -> GpuDevice:
    card = offload.find_card()
    assert card is not None, "no GPU: is this a GPU build of llama.cpp?"
    return card


@pytest.fixture
def any_gguf(starter_gguf: Path) -> Path:
    """The file that DEEPSEEK_TUI_TEST_GGUF names, or the starter."""
    return Path(os.environ.get("DEEPSEEK_TUI_TEST_GGUF", starter_gguf))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that the engine logs from now on, line by line."""
    lines: list[str] = []
    write = binding.log.write

    def written(level: int, text: bytes) -> None:
        lines.append(text.decode("utf-8", "replace"))
        write(level, text)

    monkeypatch.setattr(binding.log, "write", written)
    return lines


@pytest.mark.gpu
@pytest.mark.parametrize("kv_cache", get_args(KvCache))
@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_a_true_card_takes_what_was_counted(
    true_card: GpuDevice, any_gguf: Path, logged: list[str], share: float, kv_cache: KvCache
) -> None:
    lib, name = binding.library(), true_card.name
    shape, asked = read_shape(any_gguf), wished(context=4096, kv_cache=kv_cache)
    blocks = round(share * shape.layers)
    layers = engine_layers(blocks)
    planned = place(shape, setup_of(asked), layers).card
    counted = dry_run.card_bytes(lib, any_gguf, asked, true_card, shape, setup_of(asked), blocks)
    sizes = dry_run.dry_run(lib, any_gguf, asked, true_card, layers)
    assert counted is not None
    assert sizes is not None
    logged.clear()
    before = binding.memory_now(true_card).free_bytes
    opened = loading.open_model(lib, any_gguf, asked, layers, lambda _p: None, Cancel(), gpu=true_card, shape=shape)
    less, took = before - binding.memory_now(true_card).free_bytes, buffers(logged)
    opened.free()
    # The engine pads tensors to the card's alignment.
    assert took[f"{name} model"] == pytest.approx(planned.weights, rel=0.001, abs=PRINTED)
    assert took[f"{name} KV"] == pytest.approx(planned.kv, abs=PRINTED)
    assert took[f"{name} compute"] == sizes.compute[name]
    # By formula what the engine copies to the card for long prompts is apart, of the buffers it is a part.
    assert planned.compute * 0.99 <= sizes.compute[name] <= (planned.compute + planned.overhead) * 1.01
    assert less <= counted + MARGIN_BYTES


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_plan_for_a_part_of_a_true_card_keeps_to_it(
    true_card: GpuDevice, any_gguf: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    shape, asked = read_shape(any_gguf), wished(context=4096, kv_cache="q8_0")
    most = place(shape, setup_of(asked), engine_layers(round(share * shape.layers))).card.total
    part = msgspec.structs.replace(true_card, free_bytes=most + MARGIN_BYTES)
    notes: list[str] = []
    opened = loading.open_on(binding.library(), part, any_gguf, asked, lambda _p: None, Cancel(), notes)
    less = true_card.free_bytes - binding.memory_now(true_card).free_bytes
    opened.free()
    assert 1 < opened.engine_layers <= shape.layers
    assert notes == []
    assert less <= part.free_bytes
