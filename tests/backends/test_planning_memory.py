"""Bytes by formula: beside llama.cpp's own dry runs, and beside the table of tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec
import pytest

from backends.errors import BadOptions
from backends.gguf.files import read_shape
from backends.gguf.reader import read_header
from backends.gguf.shape import Shape
from backends.gguf.source import FileBytes
from backends.llama_cpp import binding, options
from backends.llama_cpp.context import create_context
from backends.llama_cpp.options import LlamaCppOptions
from backends.planning import memory
from backends.planning.memory import (
    KvCache,
    Setup,
    compute_bytes,
    engine_layers,
    kv_bytes,
    largest_tensor_bytes,
    place,
)
from tests.gguf_files import LLAMA_8B, MODELS, QWEN_1_5B, QWEN_14B, QWEN_32B, Model, model_tensors, sparse_model

MIB = 1024**2
CONTEXTS = (2048, 8192, 32_768)
KINDS: tuple[KvCache, ...] = get_args(KvCache)
# The engine's log rounds sizes to a hundredth of a MiB.
PRINTED = 0.0051 * MIB


class Dry(NamedTuple):
    """What the engine would take: the KV cache, and compute and output buffers, in bytes as its log rounds them."""

    model: str
    setup: Setup
    kv: float
    compute: float
    output: float


def dry_run(handle: int, setup: Setup) -> tuple[float, float, float]:
    """Create a context on a model without weights, as our engine does it, and read its log."""
    lib = binding.library()
    wanted = LlamaCppOptions(
        context=setup.context,
        kv_cache=setup.kv_cache,
        flash_attention="on" if setup.flash_attention else "off",
        batch=max(512, setup.ubatch),
        ubatch=setup.ubatch,
        threads=1,
    )
    context = create_context(lib, handle, wanted)
    lines = "\n".join(binding.log.lines())
    lib.llama_free(context)
    kv, compute, output = (
        re.findall(pattern, lines)
        for pattern in (
            r"llama_kv_cache: size =\s+([\d.]+) MiB",
            r"compute buffer size =\s+([\d.]+) MiB",
            r"output buffer size =\s+([\d.]+) MiB",
        )
    )
    return float(kv[-1]) * MIB, sum(map(float, compute)) * MIB, float(output[-1]) * MIB


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shapes")
    return {model.name: sparse_model(folder / f"{number}.gguf", model) for number, model in enumerate(MODELS)}


@pytest.fixture(scope="module")
def shapes(files: dict[str, Path]) -> dict[str, Shape]:
    return {name: read_shape(path) for name, path in files.items()}


@pytest.fixture(scope="module")
def handles(files: dict[str, Path]) -> Iterator[dict[str, int]]:
    """The five shapes in the engine, without their weights."""
    lib = binding.library()
    found: dict[str, int] = {}
    echo, binding.log.echo = binding.log.echo, False
    for name, path in files.items():
        params = lib.llama_model_default_params()
        params.no_alloc, params.load_mode, params.n_gpu_layers = True, lib.LLAMA_LOAD_MODE_NONE, 0
        handle = lib.llama_model_load_from_file(str(path).encode(), params)
        assert handle is not None
        found[name] = handle
    yield found
    for handle in found.values():
        lib.llama_model_free(handle)
    binding.log.echo = echo


def possible(contexts: tuple[int, ...], ubatches: tuple[int, ...]) -> Iterator[Setup]:
    for context in contexts:
        for ubatch in ubatches:
            yield from (Setup(context, kind, True, ubatch) for kind in KINDS)
            yield Setup(context, "f16", False, ubatch)


@pytest.fixture(scope="module")
def runs(handles: dict[str, int]) -> list[Dry]:
    return [
        Dry(name, setup, *dry_run(handle, setup))
        for name, handle in handles.items()
        for setup in possible(CONTEXTS, (512,))
    ]


def off_by(shape: Shape, run: Dry) -> float:
    return compute_bytes(shape, run.setup) / run.compute - 1


def test_the_kv_cache_is_exactly_the_engines(runs: list[Dry], shapes: dict[str, Shape]) -> None:
    assert len(runs) == 60
    for run in runs:
        assert kv_bytes(shapes[run.model], run.setup) == pytest.approx(run.kv, abs=PRINTED), run


def test_compute_buffers_are_the_engines_within_a_hundredth(runs: list[Dry], shapes: dict[str, Shape]) -> None:
    errors = sorted(abs(off_by(shapes[run.model], run)) for run in runs)
    assert errors[round(0.95 * len(errors)) - 1] < 0.01
    assert errors[-1] < 0.002


def test_one_row_of_logits_is_handed_out(runs: list[Dry], shapes: dict[str, Shape]) -> None:
    for run in runs:
        assert 4 * shapes[run.model].vocabulary == pytest.approx(run.output, abs=PRINTED)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_the_engine_refuses_what_is_never_planned(kind: KvCache, context: int, handles: dict[str, int]) -> None:
    for handle in handles.values():
        with pytest.raises(BadOptions):
            dry_run(handle, Setup(context, kind, False))


def test_odd_contexts_and_batches(handles: dict[str, int], shapes: dict[str, Shape]) -> None:
    for setup in possible((256, 300, 1000, 5000), (64, 700)):
        kv, compute, _ = dry_run(handles[QWEN_14B.name], setup)
        shape = shapes[QWEN_14B.name]
        assert kv_bytes(shape, setup) == pytest.approx(kv, abs=PRINTED)
        assert compute_bytes(shape, setup) == pytest.approx(compute, rel=0.005), setup


def test_compute_buffers_of_many_more_setups(handles: dict[str, int], shapes: dict[str, Shape]) -> None:
    for name, handle in handles.items():
        for setup in possible((256, 512, 1024, 4096, 16_384), (64, 128, 1024, 2048)):
            kv, compute, _ = dry_run(handle, setup)
            assert kv_bytes(shapes[name], setup) == pytest.approx(kv, abs=PRINTED)
            assert compute_bytes(shapes[name], setup) == pytest.approx(compute, rel=0.002), (name, setup)


def test_our_words_for_kv_caches_are_the_engines_options() -> None:
    assert get_args(options.KvCache) == KINDS


def by_the_rule(path: Path, layers: int, gpu_layers: int) -> tuple[int, int]:
    """Bytes of weights on the card and off it, tensor by tensor: get_layer_buft_list in llama.cpp's llama-model.cpp."""
    with FileBytes(path) as source:
        tensors = read_header(source, "model").tensors
    start = max(layers + 1 - gpu_layers, 0)
    card = host = 0
    for tensor in tensors:
        block = re.match(r"blk\.(\d+)\.", tensor.name)
        if tensor.name == "token_embd.weight":
            at = -1
        elif block or tensor.name == "rope_freqs.weight":
            at = int(block[1]) if block else 0
        else:
            at = layers
        size = tensor.size or 0
        on_card = gpu_layers > 0 and at >= start
        card, host = card + size * on_card, host + size * (not on_card)
        if tensor.name == "rope_freqs.weight" and not on_card and start < layers:
            card += size  # Every block reads it, so each side has its own.
    return card, host


@pytest.mark.parametrize("recipe", ["Q4_K_M", "Q3_K_S"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_weights_lie_where_the_table_of_tensors_puts_them(model: Model, recipe: str, tmp_path: Path) -> None:
    path = sparse_model(tmp_path / "model.gguf", model, recipe, small_vocabulary=True)
    shape = read_shape(path)
    for gpu_layers in range(model.layers + 2):
        placement = place(shape, Setup(8192), gpu_layers)
        assert (placement.card.weights, placement.host.weights) == by_the_rule(path, model.layers, gpu_layers)
        assert placement.blocks == max(0, gpu_layers - 1)
        assert placement.output_on_card == (gpu_layers > 0)
    assert place(shape, Setup(8192), 10_000) == place(shape, Setup(8192), model.layers + 1)


def test_an_embedding_that_serves_as_output_is_there_twice(starter_gguf: Path) -> None:
    shape = read_shape(starter_gguf)
    whole = place(shape, Setup(2048), shape.layers + 1)
    assert whole.host.weights == shape.embedding_bytes
    assert whole.card.weights + whole.host.weights == shape.weight_bytes + shape.embedding_bytes
    assert place(shape, Setup(2048), 0).host.weights == shape.weight_bytes


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_lies_with_its_blocks(kind: KvCache, tmp_path: Path) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", QWEN_14B, small_vocabulary=True))
    setup = Setup(8192, kind)
    each = {"f16": 32 * MIB, "q8_0": 17 * MIB, "q4_0": 9 * MIB}[kind]
    for blocks in (1, 20, 48):
        placement = place(shape, setup, engine_layers(blocks))
        assert (placement.card.kv, placement.host.kv) == (blocks * each, (48 - blocks) * each)


def test_what_a_card_takes_besides(tmp_path: Path) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", QWEN_14B, small_vocabulary=True))
    scratch, tensor = 32 * MIB, 13_824 * 5120 // 256 * 210
    overheads = {
        (kind, blocks): place(shape, Setup(8192, kind), engine_layers(blocks)).card.overhead
        for kind in ("f16", "q8_0")
        for blocks in (20, 48)
    }
    assert overheads == {
        ("f16", 20): tensor, ("f16", 48): 0, ("q8_0", 20): tensor + scratch, ("q8_0", 48): scratch,
    }  # fmt: skip
    assert place(shape, Setup(8192, "q8_0"), 1).card.overhead == tensor
    assert place(shape, Setup(8192), 49, card_overhead=107 * MIB).card.overhead == 107 * MIB
    assert place(shape, Setup(8192), 0, card_overhead=107 * MIB).card.total == 0


@pytest.mark.parametrize("recipe", ["Q8_0", "Q6_K", "Q4_K_M", "Q3_K_S", "F16"])
@pytest.mark.parametrize("model", [LLAMA_8B, QWEN_1_5B, QWEN_32B], ids=lambda model: model.name)
def test_the_largest_tensor_of_a_block(model: Model, recipe: str, tmp_path: Path) -> None:
    path = sparse_model(tmp_path / "model.gguf", model, recipe, small_vocabulary=True)
    with FileBytes(path) as source:
        tensors = read_header(source, "model").tensors
    shape = read_shape(path)
    for number, block in enumerate(shape.blocks):
        true = max(tensor.size or 0 for tensor in tensors if tensor.name.startswith(f"blk.{number}."))
        assert true <= largest_tensor_bytes(shape, block) <= 1.05 * true


def test_larger_first_blocks_of_a_mixed_recipe(tmp_path: Path) -> None:
    names = [name for name in model_tensors(QWEN_32B, "Q3_K_S") if name.endswith("ffn_up.weight")]
    types = {name: 12 for name in names if int(name.split(".")[1]) < 20}
    path = sparse_model(tmp_path / "model.gguf", QWEN_32B, "Q3_K_S", types=types, small_vocabulary=True)
    shape = read_shape(path)
    for gpu_layers in (0, 1, 2, 44, 45, 46, 65):
        placement = place(shape, Setup(4096), gpu_layers)
        assert (placement.card.weights, placement.host.weights) == by_the_rule(path, 64, gpu_layers)


def test_doubts_are_said(tmp_path: Path) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", QWEN_14B, small_vocabulary=True))
    assert memory.doubts(shape) == ()
    strange = msgspec.structs.replace(
        shape, architecture="gemma4", sliding_window=1024, latent_attention=True, experts=4, unknown_types=3
    )
    assert len(memory.doubts(strange)) == 5


def test_what_one_row_of_logits_and_flash_attention_save(tmp_path: Path) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", QWEN_14B))
    plain, flash = Setup(8192, flash_attention=False), Setup(8192)
    sizes = [compute_bytes(shape, plain), compute_bytes(shape, flash, outputs=512), compute_bytes(shape, flash)]
    assert [round(size / MIB) for size in sizes] == [710, 317, 129]


def test_the_cpu_prepares_little_where_it_computes_no_block(tmp_path: Path) -> None:
    shape = read_shape(sparse_model(tmp_path / "model.gguf", QWEN_14B, small_vocabulary=True))
    logits, inputs = 4 * 512, 24 * 512
    for setup, mask in ((Setup(8192), 8 * MIB), (Setup(8192, flash_attention=False), 16 * MIB)):
        assert place(shape, setup, 49).host.compute == 10 * MIB + mask + inputs + logits
        assert place(shape, setup, 48).host.compute == compute_bytes(shape, setup) + logits
