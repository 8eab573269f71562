"""Predicted speed beside series that others published, and what is never made up."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from backends.gguf.files import read_shape
from backends.gguf.shape import Shape
from backends.hardware.cpu import Cpu
from backends.hardware.disk import Disk
from backends.hardware.machine import Card, Machine
from backends.hardware.memory import Ram
from backends.hardware.speed import Speed
from backends.planning.fit import fit
from backends.planning.memory import KvCache, Setup, engine_layers
from backends.planning.result import Fit, Wishes
from backends.planning.speed import (
    CARD_EFFICIENCY,
    MEMORY_EFFICIENCY,
    Rates,
    Traffic,
    seconds_per_token,
    tokens_per_second,
    traffic,
)
from tests.backends.planning_world import GIB, machine, says, shape_of
from tests.gguf_files import LLAMA_8B, QWEN_14B, QWEN_32B, Model, sparse_model

GB = 10**9
RTX_4060 = Speed(272 * GB, "published")  # NVIDIA's data sheet: 17 Gb/s · 128 bit
DDR4_3200, DDR5_5600 = Speed(51_200_000_000, "published"), Speed(89_600_000_000, "published")
# llama-bench of Qwen2.5-Coder-14B Q4_K_M on an RTX 5060 Ti by n_gpu_layers, tokens/s:
# https://inventivehq.com/blog/vram-offload-cliff-gpu-layers-benchmark
SWEEP = {0: 2.89, 8: 3.58, 16: 4.24, 24: 5.61, 32: 7.26, 40: 12.5, 99: 43.18}
RTX_5060_TI = Speed(448 * GB, "published")  # NVIDIA's data sheet: 28 Gb/s · 128 bit


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shape]:
    folder: Path = tmp_path_factory.mktemp("shapes")
    return {
        model.name: read_shape(sparse_model(folder / f"{number}.gguf", model, small_vocabulary=True))
        for number, model in enumerate((LLAMA_8B, QWEN_14B, QWEN_32B))
    }


@pytest.mark.parametrize(
    ("model", "kind", "blocks", "ddr4", "ddr5"),
    [
        (LLAMA_8B, "f16", 32, 36, 36), (QWEN_14B, "f16", 30, 7.0, 10.4), (QWEN_32B, "f16", 18, 1.9, 3.2),
        (LLAMA_8B, "q8_0", 32, 37, 37), (QWEN_14B, "q8_0", 38, 10.0, 13.5), (QWEN_32B, "q8_0", 22, 2.1, 3.4),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)  # fmt: skip
def test_figures_for_an_rtx_4060(
    model: Model, kind: KvCache, blocks: int, ddr4: float, ddr5: float, shapes: dict[str, Shape]
) -> None:
    read = traffic(shapes[model.name], Setup(8192, kind), engine_layers(blocks))
    for memory, expected in ((DDR4_3200, ddr4), (DDR5_5600, ddr5)):
        assert tokens_per_second(read, Rates(RTX_4060, memory)) == pytest.approx(expected, rel=0.06)


def test_a_published_sweep_of_layers(shapes: dict[str, Shape]) -> None:
    """Both rates are taken from its ends, where only one of them matters much; all between must follow."""
    reads = {layers: traffic(shapes[QWEN_14B.name], Setup(4096), layers, 64) for layers in SWEEP}
    assert reads[0].card == reads[99].memory == 0
    card = Speed(round(reads[99].card * SWEEP[99] / CARD_EFFICIENCY), "assumed")
    memory = Speed(round(reads[0].memory * SWEEP[0] / MEMORY_EFFICIENCY), "assumed")
    for layers, published in SWEEP.items():
        assert tokens_per_second(reads[layers], Rates(card, memory)) == pytest.approx(published, rel=0.075)


def test_the_same_sweep_with_the_cards_data_sheet(shapes: dict[str, Shape]) -> None:
    """Split models are within 15 %. The newest cards read faster than ours assumes: whole ones come out too slow."""
    reads = {layers: traffic(shapes[QWEN_14B.name], Setup(4096), layers, 64) for layers in SWEEP}
    memory = Speed(round(reads[0].memory * SWEEP[0] / MEMORY_EFFICIENCY), "assumed")
    predicted = {layers: tokens_per_second(read, Rates(RTX_5060_TI, memory)) for layers, read in reads.items()}
    for layers in (0, 8, 16, 24, 32, 40):
        assert predicted[layers] == pytest.approx(SWEEP[layers], rel=0.15)
    assert predicted[99] == pytest.approx(SWEEP[99], rel=0.25)
    assert (predicted[99] or 0) < SWEEP[99]


def test_a_model_larger_than_memory_is_read_again_for_every_token(shapes: dict[str, Shape]) -> None:
    """Published: a model of 20 GB, 16 GB of RAM, a disk of 1 GB/s: 20 s a token (ggml-org/llama.cpp#711)."""
    machine = Machine(
        ram=Ram(16 * 2**30, 14 * 2**30), bandwidth=DDR4_3200, disk=Disk(read=Speed(GB, "published")), origin="described"
    )
    plan = fit(shapes[QWEN_32B.name], machine, Wishes(context=2048, hold_bytes=0, read_ahead=False))
    assert plan.tokens_per_second is not None
    assert 1 / plan.tokens_per_second == pytest.approx(20, rel=0.06)
    assert plan.only_a_bound
    assert plan.bytes.ssd.total == pytest.approx(shapes[QWEN_32B.name].weight_bytes, rel=0.03)
    assert any("each token may read all 19.4 GB of it from the disk; at best" in said for said in plan.warnings)
    assert plan.fits


def test_types_that_the_cpu_looks_up_in_tables_are_predicted_as_a_bound_unless_a_card_has_all_of_them() -> None:
    mixed = shape_of(QWEN_32B, "Q3_K_S")
    tabled = msgspec.structs.replace(mixed, type_bytes=(("iq3_s", mixed.weight_bytes),))
    assert not fit(mixed, machine()).only_a_bound
    plan = fit(tabled, machine())
    assert plan.only_a_bound
    assert says(plan.reasons, "weights of IQ types up in tables")
    whole = fit(tabled, machine(24 * GIB))
    assert whole.whole
    assert not whole.only_a_bound
    assert not says(whole.reasons, "in tables")


def test_of_few_cores_a_speed_is_a_bound_until_an_answer_has_shown_it() -> None:
    shape = shape_of(QWEN_32B, "Q3_K_S")

    def planned(cores: int | None, **wishes: int) -> Fit:
        return fit(shape, machine(cpu=Cpu(cores=8, usable_cores=cores) if cores else Cpu()), Wishes(**wishes))

    assert planned(2).only_a_bound
    assert says(planned(2).reasons, "With so few cores (2)")
    for plan in (planned(6), planned(None), planned(2, memory_reached=12 * GB)):
        assert not plan.only_a_bound
        assert not says(plan.reasons, "few cores")
    whole = fit(shape, machine(24 * GIB, cpu=Cpu(usable_cores=2)))
    assert whole.whole
    assert not whole.only_a_bound
    # What need not be unpacked costs a core much less.
    plain = msgspec.structs.replace(shape, type_bytes=(("f16", shape.weight_bytes),))
    assert not fit(plain, machine(cpu=Cpu(usable_cores=2))).only_a_bound


def test_nothing_is_read_from_a_disk_where_memory_suffices(shapes: dict[str, Shape]) -> None:
    machine = Machine(ram=Ram(32 * 2**30, 30 * 2**30), bandwidth=DDR4_3200)
    plan = fit(shapes[QWEN_32B.name], machine)
    assert plan.bytes.ssd.total == 0
    assert plan.tokens_per_second == pytest.approx(1.4, rel=0.1)


def test_an_unknown_bandwidth_gives_no_speed_where_it_matters() -> None:
    fast = Speed(100 * GB, "published")
    assert seconds_per_token(Traffic(65 * GB, 0), Rates(card=fast)) == pytest.approx(1)
    assert seconds_per_token(Traffic(0, 55 * GB), Rates(memory=fast)) == pytest.approx(1)
    both = Traffic(0, 55 * GB, 95 * GB)
    assert seconds_per_token(both, Rates(memory=fast, disk=fast)) == pytest.approx(2)
    assert seconds_per_token(both, Rates(memory=fast, disk=fast), ahead=True) == pytest.approx(1)
    assert seconds_per_token(both, Rates(memory=fast, disk=fast, disk_reached=50 * GB)) == pytest.approx(2.9)
    assert seconds_per_token(Traffic(1, 1), Rates(card=fast)) is None
    assert seconds_per_token(Traffic(1, 1), Rates(memory=fast)) is None
    assert seconds_per_token(Traffic(0, 1, 1), Rates(memory=fast)) is None
    assert seconds_per_token(Traffic(1, 0), Rates(card=Speed(0, "measured"))) is None
    assert tokens_per_second(Traffic(0, 0), Rates(fast, fast, fast)) is None


def test_measured_memory_is_used_better_than_a_data_sheets() -> None:
    nominal, measured = (
        seconds_per_token(Traffic(0, GB), Rates(memory=Speed(50 * GB, source))) or 0
        for source in ("published", "measured")
    )
    assert measured < nominal


def test_the_cache_counts_as_deep_as_the_answer_is(shapes: dict[str, Shape]) -> None:
    shape, setup = shapes[LLAMA_8B.name], Setup(8192)
    shallow, deep = (traffic(shape, setup, 33, depth).card for depth in (0, 8192))
    assert deep - shallow == 2**30
    assert traffic(shape, setup, 33, 10**9).card == deep
    assert shallow == sum(block.bytes for block in shape.blocks) + shape.output_bytes


def test_only_experts_in_use_are_read(shapes: dict[str, Shape]) -> None:
    shape = shapes[LLAMA_8B.name]
    blocks = tuple(msgspec.structs.replace(block, expert_bytes=block.bytes // 2) for block in shape.blocks)
    mixed = msgspec.structs.replace(shape, blocks=blocks, experts=8, experts_used=2)
    whole, some = (traffic(one, Setup(2048), 0, 0).memory for one in (shape, mixed))
    saved = sum(block.expert_bytes - block.expert_bytes * 2 // 8 for block in blocks)
    assert whole - some == saved


def test_an_embedding_that_serves_as_output_is_read_whole(starter_gguf: Path) -> None:
    shape = read_shape(starter_gguf)
    assert traffic(shape, Setup(2048), 0, 0).memory == shape.weight_bytes
    assert traffic(shape, Setup(2048), shape.layers + 1, 0).card == shape.weight_bytes


def test_no_speed_without_knowing_whether_memory_suffices(shapes: dict[str, Shape]) -> None:
    shape = shapes[QWEN_14B.name]
    card = Card("a card", 8 * 2**30, round(7.6 * 2**30), bandwidth=RTX_4060)
    split = fit(shape, Machine((card,), bandwidth=DDR4_3200))
    assert split.tokens_per_second is None
    assert any("not known" in said for said in split.warnings)
    large = msgspec.structs.replace(card, total_bytes=16 * 2**30, free_bytes=15 * 2**30)
    assert fit(shape, Machine((large,))).tokens_per_second is not None
