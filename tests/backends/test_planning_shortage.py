"""The plan where memory is short: on the card, in main memory, or nobody knows where."""

from __future__ import annotations

import msgspec

from backends.hardware.memory import Ram
from backends.planning.fit import fit
from backends.planning.memory import Setup, engine_layers, place
from backends.planning.result import MARGIN_BYTES, Wishes
from tests.backends.planning_world import GIB, MIB, machine, says, shape_of
from tests.gguf_files import LLAMA_8B, QWEN_14B, QWEN_32B


def test_whether_a_token_reads_from_the_disk_is_not_known_where_memory_is_not() -> None:
    shape = shape_of(QWEN_14B, "Q4_K_M")
    assert fit(shape, machine(ram=None)).streamed_bytes is None
    assert fit(shape, machine()).streamed_bytes == 0
    assert fit(shape_of(QWEN_14B, "Q3_K_S"), machine(ram=None)).streamed_bytes == 0
    last = place(shape, Setup(8192, "q8_0"), engine_layers(48)).card.total + MARGIN_BYTES - MIB
    split = fit(shape, machine(free=last, ram=None), Wishes(kv_cache="q8_0"))
    assert (split.gpu_layers, bool(split.held_back), split.tokens_per_second) == (47, True, None)


def test_what_does_not_fit_the_card_has_no_speed() -> None:
    forced = fit(shape_of(QWEN_14B, "Q4_K_M"), machine(), Wishes(gpu_layers=48))
    assert (forced.fits, forced.tokens_per_second) == (False, None)


def test_what_keeps_a_model_from_fitting_is_said_first() -> None:
    cards = (machine().gpus[0], msgspec.structs.replace(machine().gpus[0], name="the other", free_bytes=GIB))
    two = machine(gpus=cards)
    over = fit(shape_of(QWEN_14B, "Q4_K_M"), two, Wishes(gpu_layers=48))
    assert over.warnings[0].startswith("48 layers need")
    assert says(over.warnings[1:], "Of 2 cards")
    short = fit(shape_of(QWEN_32B, "Q4_K_M"), machine(free=200 * MIB, ram=4 * GIB), Wishes(mmap=False))
    assert short.warnings[0].startswith("Main memory is too small")
    assert says(short.warnings[1:], "close what else uses it")


def test_a_described_control_group_limits_what_memory_there_is() -> None:
    shape = shape_of(QWEN_32B, "Q4_K_M")
    limited = msgspec.structs.replace(machine(), ram=Ram(32 * GIB, 30 * GIB, limit_bytes=6 * GIB))
    assert fit(shape, limited).bytes.ram.free == 6 * GIB
    assert fit(shape, limited).bytes.ssd.total > 0


def test_more_than_memory() -> None:
    shape = shape_of(QWEN_32B, "Q4_K_M")
    small = machine(ram=6 * GIB)
    plan = fit(shape, small, Wishes(hold_bytes=0))
    low = sum(block.bytes for block in shape.blocks[: 64 - plan.gpu_layers])
    assert (plan.bytes.ssd.total, plan.bytes.ssd.weights, plan.kept_bytes, plan.fits) == (low, low, 0, True)
    assert says(plan.warnings, "from the disk; at best")
    assert (plan.tokens_per_second or 0) < (fit(shape, machine()).tokens_per_second or 0)
    swaps = fit(shape, small, Wishes(mmap=False))
    assert (swaps.fits, swaps.tokens_per_second, swaps.bytes.ssd.total) == (False, None, 0)
    assert says(
        swaps.warnings, f"without mmap the CPU's part would take {swaps.bytes.ram.total / 1e9:.1f} GB, and 6.4 GB"
    )
    assert says(swaps.warnings, "The system would swap, which writes to the disk")
    large = fit(shape, machine(ram=GIB), Wishes(context=131_072))
    assert not large.fits
    alone = large.bytes.ram.total - large.bytes.ram.weights
    assert says(
        large.warnings, f"the KV cache and buffers alone would take {alone / 1e9:.1f} GB, and 1.1 GB are available"
    )


def test_at_best_only_what_memory_lacks_is_read_and_never_the_idle_embedding() -> None:
    shape, kinds = shape_of(LLAMA_8B, "Q4_K_M"), Wishes(kv_cache="f16")
    need = fit(shape, machine(gpus=()), kinds).bytes.ram.total - shape.embedding_bytes
    plan = fit(shape, machine(gpus=(), ram=need - 700 * MIB), msgspec.structs.replace(kinds, hold_bytes=0))
    assert plan.bytes.ssd.total > 4 * GIB
    assert says(plan.warnings, f"at best {700 * MIB / 1e6:.0f} MB, for")


def test_of_experts_a_token_reads_at_best_its_share_of_what_memory_lacks() -> None:
    dense = shape_of(LLAMA_8B, "Q4_K_M")
    blocks = tuple(msgspec.structs.replace(one, expert_bytes=one.bytes * 9 // 10) for one in dense.blocks)
    experts = msgspec.structs.replace(dense, blocks=blocks, experts=64, experts_used=8)
    need = fit(experts, machine(gpus=()), Wishes(kv_cache="f16")).bytes.ram.total - dense.embedding_bytes
    plan = fit(experts, machine(gpus=(), ram=need - GIB), Wishes(kv_cache="f16", hold_bytes=0))
    mapped = dense.weight_bytes - dense.embedding_bytes
    share = round(plan.bytes.ssd.total * GIB / mapped / 1e6)
    assert share < 400
    assert says(plan.warnings, f"at best {share} MB, for")
    held = fit(experts, machine(gpus=(), ram=need - GIB), Wishes(kv_cache="f16"))
    assert (held.kept_bytes, held.reads_ahead, held.bytes.ssd.total) == (0, False, plan.bytes.ssd.total)


def test_a_smaller_cache_where_only_that_fits_into_memory() -> None:
    shape = shape_of(LLAMA_8B, "Q4_K_M")
    need = {kind: fit(shape, machine(gpus=()), Wishes(kv_cache=kind)).bytes.ram.total for kind in ("f16", "q8_0")}
    between = (need["f16"] + need["q8_0"]) // 2 - shape.embedding_bytes
    plan = fit(shape, machine(gpus=(), ram=between))
    assert (plan.kv_cache, plan.bytes.ssd.total) == ("q8_0", 0)
    exact = fit(shape, machine(gpus=(), ram=between), Wishes(kv_cache="f16"))
    assert exact.bytes.ssd.total > 0


def test_an_embedding_need_not_stay_in_memory_unless_it_serves_as_output() -> None:
    shape = shape_of(LLAMA_8B, "Q4_K_M")
    alone = Wishes(kv_cache="f16")
    short = machine(gpus=(), ram=fit(shape, machine(gpus=()), alone).bytes.ram.total - MIB)
    assert fit(shape, short, alone).bytes.ssd.total == 0
    assert not fit(shape, short, Wishes(kv_cache="f16", mmap=False)).fits
    tied = msgspec.structs.replace(shape, output_bytes=0, output_is_embedding=True)
    short = machine(gpus=(), ram=fit(tied, machine(gpus=()), alone).bytes.ram.total - MIB)
    assert fit(tied, short, alone).bytes.ssd.total > 0


def test_a_card_that_others_have_taken_is_told_once_and_with_what_helps() -> None:
    shape = shape_of(QWEN_14B, "Q3_K_S")
    taken = fit(shape, machine(free=200 * MIB, wsl2=True))
    assert says(taken.warnings, "210 MB of the card's 8.6 GB are free: close what else uses it")
    assert not says(taken.warnings, "less than the margin")
    assert not says(taken.warnings, "WSL2")
    assert not says(taken.reasons, "left free")
    asked = fit(shape, machine(free=200 * MIB), Wishes(gpu_layers=0))
    assert not says(asked.warnings, "close what else uses it")
    small = msgspec.structs.replace(machine().gpus[0], total_bytes=600 * MIB, free_bytes=580 * MIB)
    assert not says(fit(shape_of(QWEN_32B, "Q4_K_M"), machine(gpus=(small,))).warnings, "close what else uses it")


def test_where_nothing_is_whole_on_the_card_a_quantisation_that_memory_holds_is_named() -> None:
    small = msgspec.structs.replace(machine(), ram=Ram(16 * GIB, 12 * GIB))
    kinds = [shape_of(QWEN_32B, kind) for kind in ("Q4_K_M", "Q3_K_S")]
    plan = fit(shape_of(QWEN_32B, "Q4_K_M"), small, others=kinds)
    assert plan.bytes.ssd.total > 0
    (other,) = (one for one in plan.alternatives if one.changes == "quantization")
    assert (other.quantization, other.whole, other.ssd_bytes) == ("Q3_K_S", False, 0)


def test_a_card_that_takes_not_one_layer() -> None:
    plan = fit(shape_of(QWEN_32B, "Q4_K_M"), machine(free=600 * MIB))
    assert (plan.gpu_layers, plan.output_on_card, plan.bytes.vram.total, plan.fits) == (0, False, 0, True)
    assert says(plan.reasons, "Not one layer fits on the card")
    assert says(plan.warnings, "may still use it for long prompts")
