"""The plan: layers on the card, bytes that add up, alternatives, and sentences that explain them."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.gguf.shape import Block, Shape
from backends.hardware.disk import Disk
from backends.hardware.memory import Ram
from backends.hardware.speed import Speed
from backends.planning.choice import held_back, part_of_next
from backends.planning.fit import fit
from backends.planning.memory import Setup, engine_layers, kv_bytes, place
from backends.planning.result import MARGIN_BYTES, Fit, Tier, Wishes
from presets.families import shape_by_rules
from presets.reference import machine_named, machine_names
from tests.backends.planning_world import FREE, GB, GIB, MIB, machine, says, shape_of
from tests.gguf_files import LLAMA_8B, QWEN_14B, QWEN_32B


def test_the_14b_in_four_bits_on_an_rtx_4060() -> None:
    plan = fit(shape_of(QWEN_14B, "Q4_K_M"), machine())
    assert (plan.gpu_layers, plan.layers, plan.engine_layers, plan.context) == (38, 48, 40, 8192)
    assert (plan.kv_cache, plan.flash_attention, plan.fits, plan.card) == ("q8_0", True, True, 0)
    assert plan.bytes.vram.total <= FREE - MARGIN_BYTES
    assert plan.tokens_per_second == pytest.approx(10, rel=0.05)
    assert says(plan.reasons, "38 of 48 layers fit on the card: one more needs")
    assert says(plan.reasons, "An f16 KV cache would take 1.6 GB instead of 856 MB: 35 of 48 layers.")
    assert says(plan.reasons, "Without flash attention the compute buffer would take 745 MB instead of 125 MB")
    assert plan.warnings == ()


def test_a_part_of_one_more_layer_fills_the_card_where_that_is_faster() -> None:
    shape = shape_of(QWEN_14B, "Q4_K_M")
    plan = fit(shape, machine())
    whole = fit(shape, machine(), Wishes(gpu_layers=38, kv_cache="q8_0"))
    assert (plan.held_back, whole.held_back, whole.engine_layers) == (("ffn_gate",), (), 39)
    assert whole.bytes.vram.total < plan.bytes.vram.total <= FREE - MARGIN_BYTES
    for tier in ("weights", "kv"):
        both = [getattr(one.bytes.vram, tier) + getattr(one.bytes.ram, tier) for one in (plan, whole)]
        assert both[0] == both[1]
    assert plan.tokens_per_second is not None
    assert whole.tokens_per_second is not None
    assert 1.02 < plan.tokens_per_second / whole.tokens_per_second < 1.12
    assert says(plan.reasons, "Of one more layer everything but ffn_gate goes there too")


def test_a_part_that_gains_next_to_nothing_is_left_where_it_is() -> None:
    shape = shape_of(QWEN_32B, "Q3_K_S")
    setup, wishes = Setup(8192, "q8_0"), Wishes()
    free = place(shape, setup, engine_layers(20)).card.total + MARGIN_BYTES + shape.blocks[-21].bytes
    assert held_back(shape, setup, wishes, free, 20)
    assert part_of_next(shape, setup, wishes, free, 20) == ()
    plan = fit(shape, machine(free=free), Wishes(kv_cache="q8_0"))
    assert (plan.gpu_layers, plan.held_back, plan.engine_layers) == (20, (), 21)


def test_whether_a_layer_is_split_does_not_depend_on_speeds() -> None:
    shape = shape_of(QWEN_14B, "Q4_K_M")
    speeds: tuple[Speed | None, ...] = (None, Speed(GB, "measured"), Speed(10**13, "measured"))
    assert {fit(shape, machine(bandwidth=speed)).held_back for speed in speeds} == {("ffn_gate",)}
    assert part_of_next(shape, Setup(8192, "q8_0"), Wishes(), FREE, 38) == ("ffn_gate",)


def test_where_no_whole_layer_fits_none_is_split() -> None:
    shape, setup = shape_of(QWEN_14B, "Q4_K_M"), Setup(8192, "f16")
    free = place(shape, setup, engine_layers(1)).card.total + MARGIN_BYTES - MIB
    assert held_back(shape, setup, Wishes(), free, 0)
    plan = fit(shape, machine(free=free), Wishes(kv_cache="f16"))
    assert (plan.gpu_layers, plan.held_back, plan.output_on_card) == (0, (), False)


def test_layers_that_the_user_asked_for_are_never_split() -> None:
    plan = fit(shape_of(QWEN_14B, "Q4_K_M"), machine(), Wishes(gpu_layers=20))
    assert (plan.gpu_layers, plan.held_back) == (20, ())


def test_the_articles_14b_needs_no_offload() -> None:
    plan = fit(shape_of(QWEN_14B, "Q3_K_S"), machine())
    assert (plan.gpu_layers, plan.layers, plan.output_on_card) == (48, 48, True)
    assert plan.bytes.vram.total <= FREE - MARGIN_BYTES
    assert says(plan.reasons, "All 48 layers and the output layer fit on the card with a q8_0 KV cache of 856 MB")
    assert says(plan.reasons, "offload to the CPU is not needed")
    assert (plan.bytes.ram.kv, plan.bytes.ssd.total) == (0, 0)


def test_a_measured_overhead_is_counted() -> None:
    shape = shape_of(QWEN_14B, "Q4_K_M")
    plan = fit(shape, machine(), Wishes(card_overhead_bytes=300 * MIB))
    assert plan.gpu_layers == 36
    assert plan.bytes.vram.total <= FREE - MARGIN_BYTES
    assert not says(plan.reasons, "was not measured")
    assert {one.name: one.origin for one in plan.inputs}["vram_overhead_bytes"] == "measured"


def test_an_exact_cache_is_kept_where_the_other_brings_nothing() -> None:
    plan = fit(shape_of(LLAMA_8B, "Q4_K_M"), machine())
    assert (plan.gpu_layers, plan.kv_cache) == (32, "f16")
    assert says(plan.reasons, "so it stays exact")
    assert fit(shape_of(LLAMA_8B, "Q4_K_M"), machine(), Wishes(kv_cache="q4_0")).kv_cache == "q4_0"


def test_the_context_is_never_made_smaller() -> None:
    for context in (1, 2000, 8192, 131_072, 1_000_000):
        plan = fit(shape_of(QWEN_32B, "Q3_K_S"), machine(), Wishes(context=context))
        assert plan.context == -(-context // 256) * 256
    assert says(plan.warnings, "longer than the 131072 that the model was trained on")


def test_alternatives_tell_the_price_of_a_context() -> None:
    plan = fit(shape_of(QWEN_14B, "Q4_K_M"), machine())
    contexts = {one.context: one for one in plan.alternatives if one.changes == "context"}
    assert {context: one.gpu_layers for context, one in contexts.items()} == {4096: 40, 16_384: 35, 32_768: 29}
    speeds = [contexts[context].tokens_per_second or 0 for context in (4096, 16_384, 32_768)]
    assert speeds == sorted(speeds, reverse=True)
    caches = {one.kv_cache: one for one in plan.alternatives if one.changes == "kv_cache"}
    assert {kind: one.gpu_layers for kind, one in caches.items()} == {"f16": 35, "q4_0": 40}
    assert all(one.context == 8192 for one in caches.values())
    assert all(one.vram_bytes <= FREE - MARGIN_BYTES for one in plan.alternatives)
    longest = fit(shape_of(QWEN_14B, "Q4_K_M"), machine(), Wishes(context=131_072))
    assert {one.context for one in longest.alternatives if one.changes == "context"} == {65_536}


def test_without_flash_attention_the_cache_stays_exact() -> None:
    plan = fit(shape_of(QWEN_14B, "Q4_K_M"), machine(), Wishes(flash_attention="off", kv_cache="q8_0"))
    assert (plan.flash_attention, plan.kv_cache, plan.gpu_layers) == (False, "f16", 32)
    assert says(plan.warnings, "planned as f16 instead of q8_0: flash attention is off")
    assert {one.changes for one in plan.alternatives} == {"context"}


def test_heads_that_cannot_be_quantised() -> None:
    shape = msgspec.structs.replace(shape_of(LLAMA_8B, "Q4_K_M"), key_length=80, value_length=80)
    plan = fit(shape, machine(), Wishes(kv_cache="q8_0"))
    assert plan.kv_cache == "f16"
    assert says(plan.warnings, "the heads of this model do not allow it")


def test_a_number_of_layers_is_obeyed_and_judged() -> None:
    shape = shape_of(QWEN_14B, "Q4_K_M")
    plan = fit(shape, machine(), Wishes(gpu_layers=28))
    assert (plan.gpu_layers, plan.fits) == (28, True)
    assert says(plan.reasons, "28 layers on the card were asked for; 35 of 48 would fit (gpu_layers = 36,")
    over = fit(shape, machine(), Wishes(gpu_layers=48, kv_cache="q8_0"))
    assert (over.gpu_layers, over.fits) == (48, False)
    assert says(
        over.warnings, "48 layers need 9.6 GB on the card and 8.2 GB are free: take 38 layers (gpu_layers = 39,"
    )
    close = fit(shape, machine(), Wishes(gpu_layers=41, kv_cache="q8_0"))
    assert says(close.warnings, "close what else uses it, or take 38 layers")
    assert all(one.vram_bytes <= FREE for one in over.alternatives)
    assert fit(shape, machine(), Wishes(gpu_layers=0)).bytes.vram.total == 0
    assert fit(shape, machine(), Wishes(gpu_layers=9999)).gpu_layers == 48
    narrow = fit(shape, machine(), Wishes(gpu_layers=39, kv_cache="q8_0"))
    assert narrow.fits
    assert says(narrow.warnings, "stay free on the card, less than the margin")


def test_no_card() -> None:
    plan = fit(shape_of(LLAMA_8B, "Q4_K_M"), machine(gpus=()))
    assert (plan.card, plan.gpu_layers, plan.bytes.vram) == (None, 0, Tier(0, 0, 0, 0, 0))
    computes, holds = plan.reasons
    assert computes == "There is no card to plan for: the CPU computes everything."
    assert holds.startswith("Main memory holds the CPU's part, 6.2 GB of the 32.2 GB that are available")
    assert not any(one.name.startswith("vram") for one in plan.inputs)
    assert fit(shape_of(LLAMA_8B, "Q4_K_M"), machine(gpus=()), Wishes(gpu_layers=20)).gpu_layers == 0


def test_of_two_cards_the_emptier_one() -> None:
    one = machine().gpus[0]
    cards = (msgspec.structs.replace(one, free_bytes=2 * GIB), msgspec.structs.replace(one, name="the other"))
    plan = fit(shape_of(QWEN_14B, "Q4_K_M"), machine(gpus=cards))
    assert (plan.card, plan.gpu_layers) == (1, 38)
    assert says(plan.warnings, "Of 2 cards, the other alone is planned for")


def test_what_is_unknown_is_said_and_none() -> None:
    plan = fit(shape_of(QWEN_14B, "Q4_K_M"), machine(free=None, ram=None, bandwidth=None, disk=Disk()))
    assert plan.tokens_per_second is None
    assert (plan.bytes.vram.free, plan.bytes.ram.free) == (None, None)
    assert plan.bytes.vram.total <= 8 * GIB
    assert says(plan.warnings, "planned as if nobody else used it")
    unknown = {one.name for one in plan.inputs if one.origin == "unknown"}
    names = {"vram_free_bytes", "vram_overhead_bytes", "ram_available_bytes", "ram_bytes_per_s", "ssd_bytes_per_s"}
    assert unknown == names
    assert all(one.value is None for one in plan.inputs if one.origin == "unknown")
    assert all(one.tokens_per_second is None for one in plan.alternatives if one.gpu_layers < 48)


def test_a_speed_needs_no_bandwidth_that_does_not_matter() -> None:
    plan = fit(shape_of(QWEN_14B, "Q3_K_S"), machine(bandwidth=None, disk=Disk()))
    assert plan.tokens_per_second is not None
    slow = machine().gpus[0]
    unknown = machine(gpus=(msgspec.structs.replace(slow, bandwidth=None),))
    assert fit(shape_of(QWEN_14B, "Q3_K_S"), unknown).tokens_per_second is None


def test_no_alternative_is_too_small_to_think_in() -> None:
    for context, smaller in ((2048, {1024}), (1024, set[int]())):
        plan = fit(shape_of(LLAMA_8B, "Q4_K_M"), machine(), Wishes(context=context))
        contexts = {one.context for one in plan.alternatives if one.changes == "context"}
        assert contexts == smaller | {2 * context, 4 * context}


def test_a_split_model_names_the_largest_quantisation_that_is_whole_on_the_card() -> None:
    kinds = ("Q6_K", "Q4_K_M", "Q3_K_S")
    plan = fit(shape_of(QWEN_14B, "Q4_K_M"), machine(), others=[shape_of(QWEN_14B, kind) for kind in kinds])
    (other,) = (one for one in plan.alternatives if one.changes == "quantization")
    assert (other.quantization, other.whole, other.fits, other.gpu_layers) == ("Q3_K_S", True, True, 48)
    assert (other.layers, other.family) == (48, "")
    assert other.vram_bytes <= FREE - MARGIN_BYTES
    assert other.tokens_per_second is not None
    assert plan.tokens_per_second is not None
    assert other.tokens_per_second > 2 * plan.tokens_per_second


def test_a_whole_model_names_a_larger_quantisation_that_is_whole_too_and_never_a_smaller_one() -> None:
    smaller = [shape_of(LLAMA_8B, "Q3_K_S")]
    plan = fit(shape_of(LLAMA_8B, "Q4_K_M"), machine(), others=smaller)
    assert not [one for one in plan.alternatives if one.changes == "quantization"]
    plan = fit(shape_of(LLAMA_8B, "Q4_K_M"), machine(), others=[*smaller, shape_of(LLAMA_8B, "Q6_K")])
    (other,) = (one for one in plan.alternatives if one.changes == "quantization")
    assert (other.quantization, other.whole) == ("Q6_K", plan.whole)


def test_weights_by_rules_are_not_called_exact() -> None:
    shape = shape_by_rules("DeepSeek-R1-Distill-Qwen-14B", "Q4_K_M")
    assert shape is not None
    assert {one.name: one.origin for one in fit(shape, machine()).inputs}["weights"] == "rules"


def test_warnings_about_the_machine() -> None:
    shape = shape_of(QWEN_14B, "Q3_K_S")
    swapping = Ram(32 * GIB, 30 * GIB, None, 8 * GIB, 3 * GIB)
    plan = fit(shape, machine(wsl2=True, power="battery"))
    assert says(plan.warnings, "In WSL2")
    assert not says(fit(shape_of(LLAMA_8B, "Q4_K_M"), machine(wsl2=True)).warnings, "In WSL2")
    assert says(plan.warnings, "battery")
    used = fit(shape, msgspec.structs.replace(machine(), ram=swapping))
    assert says(used.warnings, "3.2 GB of swap are in use")


def test_inputs_tell_where_they_come_from() -> None:
    described = {one.name: one.origin for one in fit(shape_of(QWEN_14B, "Q4_K_M"), machine()).inputs}
    assert described == {
        "weights": "exact", "kv": "exact", "compute": "formula", "margin_bytes": "assumed",
        "ram_overhead_bytes": "assumed", "depth_tokens": "assumed", "vram_free_bytes": "assumed",
        "vram_overhead_bytes": "unknown",
        "vram_bytes_per_s": "published", "vram_efficiency": "published", "ram_available_bytes": "assumed",
        "ram_bytes_per_s": "published", "ram_efficiency": "published", "ssd_bytes_per_s": "published",
    }  # fmt: skip
    looked = machine(origin="measured", bandwidth=Speed(40 * GB, "measured"))
    measured = {one.name: one.origin for one in fit(shape_of(QWEN_14B, "Q4_K_M"), looked).inputs}
    assert measured["vram_free_bytes"] == measured["ram_available_bytes"] == measured["ram_bytes_per_s"] == "measured"
    assert measured["ram_efficiency"] == "assumed"


@pytest.mark.parametrize("name", machine_names())
def test_every_reference_machine_gets_a_plan(name: str) -> None:
    for model, recipe, context in ((LLAMA_8B, "Q4_K_M", 8192), (QWEN_14B, "Q3_K_S", 8192), (QWEN_32B, "Q3_K_S", 4096)):
        plan = fit(shape_of(model, recipe), machine_named(name), Wishes(context=context))
        assert plan.fits
        assert plan.tokens_per_second is not None
        assert plan.reasons
        assert msgspec.json.decode(msgspec.json.encode(plan), type=Fit) == plan


def test_a_plan_takes_no_time() -> None:
    shape, here = shape_of(QWEN_32B, "Q4_K_M"), machine()
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        fit(shape, here)
        spent.append(time.perf_counter() - began)
    assert min(spent) < 0.05


SOME = Shape(
    (), "llama", "", 4096, 14_336, 32, 128, 128, 128_256, 131_072, None, False, 0, 0, (), 0, 0, 256, False, 0, None,
    "", (("q4_K", 4 * GIB), ("q6_K", GIB)), 0, "",
)  # fmt: skip
blocks = st.builds(
    lambda size, share, heads: Block(size, size * share // 100, heads),
    st.integers(0, 400 * MIB), st.integers(0, 100), st.integers(0, 16),
)  # fmt: skip
strange_shapes = st.builds(
    lambda base, these, heads, tied, embedding, output: msgspec.structs.replace(
        base, blocks=tuple(these), heads=heads, output_is_embedding=tied, embedding_bytes=embedding, output_bytes=output
    ),
    st.just(SOME),
    st.lists(blocks, min_size=1, max_size=70),
    st.integers(0, 64), st.booleans(), st.integers(0, GIB), st.integers(0, GIB),
)  # fmt: skip
wishes = st.builds(
    Wishes,
    context=st.integers(1, 200_000),
    kv_cache=st.sampled_from(["auto", "f16", "q8_0", "q4_0"]),
    flash_attention=st.sampled_from(["auto", "on", "off"]),
    ubatch=st.sampled_from([32, 512, 2048]),
    mmap=st.booleans(),
    margin_bytes=st.integers(0, GIB),
    card_overhead_bytes=st.none() | st.integers(0, 600 * MIB),
    hold_bytes=st.none() | st.integers(0, 8 * GIB),
    read_ahead=st.booleans(),
)
free_bytes = st.integers(0, 24 * GIB)
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_sums(shape: Shape, plan: Fit) -> None:
    for tier in (plan.bytes.vram, plan.bytes.ram, plan.bytes.ssd):
        assert tier.total == tier.weights + tier.kv + tier.compute + tier.overhead
        assert min(tier.weights, tier.kv, tier.compute, tier.overhead) >= 0
    assert plan.bytes.vram.kv + plan.bytes.ram.kv == kv_bytes(shape, plan.setup)
    copies = shape.embedding_bytes * (shape.output_is_embedding and plan.output_on_card)
    copies += shape.other_bytes * (0 < plan.gpu_layers < plan.layers)
    weights = plan.bytes.vram.weights + plan.bytes.ram.weights + plan.bytes.ssd.weights
    if plan.bytes.ssd.total and not (shape.output_is_embedding and not plan.output_on_card):
        weights += shape.embedding_bytes  # a token needs one row of it
    assert weights == shape.weight_bytes + copies


@many
@given(strange_shapes, wishes, free_bytes, free_bytes)
def test_bytes_add_up_and_never_exceed_what_is_free(shape: Shape, wished: Wishes, free: int, ram: int) -> None:
    plan = fit(shape, machine(free=free, ram=ram), wished)
    check_sums(shape, plan)
    assert plan.bytes.vram.total <= max(0, free - wished.margin_bytes)
    assert plan.context >= wished.context
    for one in plan.alternatives:
        assert one.vram_bytes <= max(0, free - wished.margin_bytes)
    assert plan.tokens_per_second is None or plan.tokens_per_second > 0


@many
@given(strange_shapes, wishes, free_bytes, free_bytes)
def test_more_free_memory_never_means_fewer_layers(shape: Shape, wished: Wishes, one: int, other: int) -> None:
    less, more = sorted((one, other))
    few, many_layers = (fit(shape, machine(free=free), wished) for free in (less, more))
    assert few.gpu_layers <= many_layers.gpu_layers
    assert few.bytes.vram.free == less


@many
@given(strange_shapes, wishes, st.integers(0, 80))
def test_a_forced_plan_adds_up_too(shape: Shape, wished: Wishes, layers: int) -> None:
    forced = fit(shape, machine(), msgspec.structs.replace(wished, gpu_layers=layers))
    assert forced.gpu_layers == min(layers, shape.layers)
    check_sums(shape, forced)
    assert forced.fits or forced.warnings


@many
@given(strange_shapes, wishes, free_bytes)
def test_no_larger_plan_would_have_fitted(shape: Shape, wished: Wishes, free: int) -> None:
    plan = fit(shape, machine(free=free), wished)
    if plan.gpu_layers < plan.layers:
        kind = plan.kv_cache
        more = msgspec.structs.replace(wished, gpu_layers=plan.gpu_layers + 1, kv_cache=kind)
        assert fit(shape, machine(free=free), more).bytes.vram.total > free - wished.margin_bytes
