"""How many layers go to a card: by plan, by the engine's count, and fewer where it was fuller than it said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import remembered
from backends.base import Cancel
from backends.errors import BadModelFile, OutOfMemory
from backends.events import LoadProgress
from backends.gguf.files import read_shape
from backends.gguf.shape import Shape
from backends.hardware.machine import Card as MachinesCard
from backends.hardware.machine import Machine
from backends.llama_cpp import LlamaCppOptions, binding, loading, offload
from backends.llama_cpp.binding import GpuDevice
from backends.llama_cpp.model import HostOutOfMemory
from backends.planning import learned
from backends.planning.fit import fit
from backends.planning.memory import Setup, engine_layers, kv_bytes, place
from backends.planning.result import Wishes
from tests.gguf_files import QWEN_14B, sparse_model

MIB, GIB = 1024**2, 1024**3
MARGIN = 256 * MIB
AT_8K = Setup(8192, "q8_0")
# An 8 GB card as a laptop's driver leaves it.
CARD = GpuDevice("a card", int(7.6 * GIB), 8 * GIB)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sparse_model(tmp_path_factory.mktemp("models") / "14b.gguf", QWEN_14B, small_vocabulary=True)


@pytest.fixture(scope="module")
def shape(model: Path) -> Shape:
    return read_shape(model)


def taken(shape: Shape, blocks: int, setup: Setup = AT_8K) -> int:
    return place(shape, setup, engine_layers(blocks)).card.total


def test_of_a_14b_model_38_layers_or_more_go_to_an_8_gb_card(shape: Shape, tmp_path: Path) -> None:
    planned = offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN)
    assert 38 <= planned.blocks < 48
    assert planned.bytes_of(planned.blocks) <= CARD.free_bytes - MARGIN < planned.bytes_of(planned.blocks + 1)
    smaller = read_shape(sparse_model(tmp_path / "s.gguf", QWEN_14B, "Q3_K_S", small_vocabulary=True))
    assert offload.plan(smaller, AT_8K, CARD.free_bytes, MARGIN).blocks == 48


@given(st.integers(0, 24 * GIB), st.integers(1, 128), st.sampled_from(["f16", "q8_0", "q4_0"]))
def test_what_is_put_on_the_card_fits_and_one_more_layer_would_not(
    shape: Shape, free: int, contexts: int, kv_cache
) -> None:
    setup = Setup(256 * contexts, kv_cache)
    planned = offload.plan(shape, setup, free, MARGIN)
    assert planned.blocks == 0 or planned.bytes_of(planned.blocks) <= free - MARGIN
    assert planned.blocks == shape.layers or taken(shape, planned.blocks + 1, setup) > free - MARGIN


@pytest.mark.parametrize("off", [-400 * MIB, -10 * MIB, 0, 10 * MIB, 400 * MIB, 2 * GIB])
def test_the_engines_own_count_has_the_last_word(shape: Shape, off: int) -> None:
    asked: list[int] = []

    def count(blocks: int, held: tuple[str, ...] = ()) -> int:
        asked.append(blocks)
        return taken(shape, blocks) + off

    planned = offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN, count)
    assert count(planned.blocks) <= CARD.free_bytes - MARGIN < count(planned.blocks + 1)
    assert planned.bytes_of(planned.blocks) == count(planned.blocks)
    assert len(asked) - 3 <= 2


@pytest.mark.parametrize("free", [1.5, 3.0, 5.0, 6.1, 7.0, 7.6, 8.5])
def test_what_is_loaded_is_what_was_planned_before(shape: Shape, free: float) -> None:
    size = int(free * GIB)
    machine = Machine(gpus=(MachinesCard(CARD.description, 24 * GIB, size),))
    before = fit(shape, machine, Wishes(context=8192, kv_cache="q8_0"))
    planned = offload.plan(shape, AT_8K, size, MARGIN, parts=True)
    assert (planned.blocks, planned.held) == (before.gpu_layers, before.held_back)
    assert planned.bytes_of(planned.blocks + bool(planned.held), planned.held) == before.bytes.vram.total


@pytest.mark.parametrize(("more", "kept"), [(0, True), (100 * MIB, False), (None, True)])
def test_a_part_of_one_more_layer_is_left_out_where_the_engine_counts_too_much(
    shape: Shape, more: int | None, kept: bool
) -> None:
    def count(blocks: int, held: tuple[str, ...]) -> int | None:
        size = place(shape, AT_8K, engine_layers(blocks), 0, held).card.total
        return size if not held else None if more is None else size + more

    planned = offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN, count, parts=True)
    assert bool(planned.held) is kept


def test_of_several_counts_the_most_that_fit_are_taken(shape: Shape) -> None:
    budget = CARD.free_bytes - MARGIN
    first = offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN).blocks
    # What is counted for these makes those seem right; two more than the second do not fit, and three asked is enough.
    leads = {first: first - 2, first - 2: first - 1, first - 1: first - 3}
    counted = {blocks: taken(shape, blocks) + budget - taken(shape, seems) for blocks, seems in leads.items()}
    assert (
        offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN, lambda blocks, _held: counted[blocks]).blocks == first - 2
    )


def test_without_a_count_the_formula_decides(shape: Shape) -> None:
    by_formula = offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN)
    assert offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN, lambda _blocks, _held: None) == by_formula


@given(st.lists(st.integers(-2 * GIB, 8 * GIB), min_size=49, max_size=49), st.integers(0, 16 * GIB))
def test_counts_that_make_no_sense_cost_three_questions_at_most(shape: Shape, offs: list[int], free: int) -> None:
    asked: list[int] = []

    def count(blocks: int, held: tuple[str, ...] = ()) -> int:
        asked.append(blocks)
        return taken(shape, blocks) + offs[blocks]

    planned = offload.plan(shape, AT_8K, free, MARGIN, count)
    assert 0 <= planned.blocks <= 48
    assert len(asked) <= 3
    fitting = [blocks for blocks in asked if taken(shape, blocks) + offs[blocks] <= free - MARGIN]
    assert not fitting or planned.blocks == max(fitting)


def test_fewer_layers_are_tried_until_it_fits_or_none_is_left() -> None:
    asked: list[int] = []

    def fits_below(limit: int) -> Callable[[int], int]:
        def attempt(blocks: int) -> int:
            asked.append(blocks)
            if blocks > limit:
                raise OutOfMemory("too little")
            return blocks

        return attempt

    notes: list[str] = []
    assert offload.load_with_retreat(5, fits_below(2), notes.append) == (1, 1)
    assert asked == [5, 3, 1]
    assert len(notes) == 2
    asked.clear()
    assert offload.load_with_retreat(40, fits_below(20), notes.append, lambda: 21) == (19, 19)
    assert asked == [40, 21, 19]
    asked.clear()
    with pytest.raises(OutOfMemory):
        offload.load_with_retreat(3, fits_below(-1), notes.append)
    assert asked == [3, 1, 0]


def test_fewer_layers_on_the_card_are_no_way_out_of_too_little_main_memory() -> None:
    asked: list[int] = []

    def attempt(blocks: int) -> int:
        asked.append(blocks)
        raise HostOutOfMemory("too little")

    with pytest.raises(OutOfMemory):
        offload.load_with_retreat(5, attempt, lambda _note: None)
    assert asked == [5]


class Card:
    """A made-up card that takes only so many blocks, and what was asked of it; None is a load that leaves it out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Path, holds: int) -> None:
        self.model = model
        self.holds = holds
        self.held: tuple[str, ...] = ()
        self.asked: list[int | None] = []
        self.notes: list[str] = []
        self.reports: list[LoadProgress] = []
        monkeypatch.setattr(loading, "open_model", self._open)

    def _open(
        self, _lib, _path, _options, engine_layers, _report, _cancel, *, gpu=None, shape=None, held=(), notes=None
    ) -> SimpleNamespace:
        blocks = None if gpu is None else max(0, engine_layers - 1 - bool(held))
        self.held = held
        self.asked.append(blocks)
        if blocks is not None and blocks > self.holds:
            raise OutOfMemory("There is too little memory for this model")
        return SimpleNamespace(engine_layers=engine_layers - bool(held), streamed_bytes=0)

    def load(self, gpu: GpuDevice = CARD, **options: object) -> int:
        """Load, and return how many blocks are on the card then."""
        self.asked.clear()
        self.notes.clear()
        self.reports.clear()
        wished = msgspec.convert({"context": 8192, "kv_cache": "q8_0", **options}, LlamaCppOptions)
        lib, report = binding.library(), self.reports.append
        opened = loading.open_on(lib, gpu, self.model, wished, report, Cancel(), self.notes)
        return max(0, opened.engine_layers - 1)


@pytest.fixture
def most(shape: Shape) -> int:
    """How many blocks should fit on the card."""
    return offload.plan(shape, AT_8K, CARD.free_bytes, MARGIN).blocks


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, model: Path, most: int) -> Card:
    """A card that has three blocks less room than it says."""
    return Card(monkeypatch, model, most - 3)


def test_what_was_decided_is_said_before_loading(card: Card, most: int) -> None:
    card.holds = 48
    assert card.load() == most
    (said,) = card.reports
    assert (said.stage, said.fraction) == ("offloading", None)
    assert said.note == f"{most} of 48 layers and a part of one more go to the card: 7.9 of 8.2 GB that are free."
    assert card.notes == []
    card.load(gpu_layers=39)
    assert card.reports[0].note == f"{most} of 48 layers go to the card: 7.8 of 8.2 GB that are free."


def test_layers_that_do_not_fit_on_a_card_are_taken_back_two_by_two(card: Card, most: int) -> None:
    assert card.load() == most - 4
    assert card.asked == [most, most - 2, most - 4]
    assert card.held == ()
    steps = [f"{blocks} layers did not fit on the GPU; trying {blocks - 2}." for blocks in (most, most - 2)]
    assert card.notes == [*steps, f"It runs with {most - 4} of 48 layers on the GPU."]
    assert [report.note for report in card.reports[1:]] == steps


def test_the_next_load_begins_where_the_last_one_ended(card: Card, most: int) -> None:
    card.load()
    assert card.load() in (most - 4, most - 5)
    assert len(card.asked) == 1
    assert card.notes == []


def test_after_some_loads_that_just_fitted_more_is_tried_again(card: Card, most: int) -> None:
    card.load()
    less = card.load()
    card.holds = 48
    for _ in range(30):
        card.load(gpu_layers=5)  # with much room, which proves nothing
    assert card.load() == less
    for _ in range(30):
        card.load()
    assert card.load() == most


def test_a_card_that_lacks_more_than_a_gib_is_tried_each_time(card: Card, most: int) -> None:
    card.holds = most - 12
    card.load()
    assert learned.margin_bytes(CARD.description) == learned.MOST_BYTES
    assert card.load() <= most - 12
    assert 1 < len(card.asked) < 6


@pytest.mark.parametrize("change", [{"context": 4096}, {"kv_cache": "f16"}, {"ubatch": 256}])
def test_what_was_learned_of_a_card_holds_for_whatever_is_loaded_there(card: Card, change: dict[str, object]) -> None:
    less, card.holds = card.holds, 48
    before = card.load(**change)
    card.holds = less
    card.load()
    card.holds = 48
    assert card.load(**change) < before


def test_another_card_knows_nothing_of_what_did_not_fit(card: Card, most: int) -> None:
    card.load()
    card.holds = 48
    assert card.load(GpuDevice("another card", CARD.free_bytes, CARD.total_bytes)) == most


def test_who_asks_for_a_number_of_layers_gets_it_if_it_can_be_had(card: Card, most: int) -> None:
    card.holds = 48
    assert card.load() == most
    assert card.held
    assert card.load(gpu_layers=most + 1) == most
    assert card.held == ()
    assert card.load(gpu_layers=49) == card.load(gpu_layers=-1) == 48
    assert card.load(gpu_layers=11) == 10
    assert card.reports[0].note.startswith("10 of 48 layers go to the card: ")
    assert card.load(gpu_layers=1) == card.load(gpu_layers=0) == 0
    assert card.asked == [0]


def test_if_it_cannot_be_had_what_fits_is_tried_next_and_that_teaches_nothing(card: Card, most: int) -> None:
    card.holds = most
    assert card.load(gpu_layers=49) == most
    assert card.asked == [48, min(46, most)]
    assert card.notes[-1] == f"It runs with {most} of 48 layers on the GPU."
    assert learned.margin_bytes(CARD.description) == MARGIN


def test_memory_that_others_took_meanwhile_is_seen_and_teaches_nothing(
    card: Card, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    card.holds = most - 20
    later = msgspec.structs.replace(CARD, free_bytes=CARD.free_bytes - 20 * 190 * MIB)
    monkeypatch.setattr(loading, "memory_now", lambda _gpu: later)
    ended = card.load()
    assert card.asked == [most, ended]
    assert learned.margin_bytes(CARD.description) == MARGIN


def test_a_card_without_room_for_anything_is_left_out(card: Card) -> None:
    card.holds = -1
    assert card.load(gpu_layers=5) == 0
    assert card.asked == [4, 2, 0, None]
    assert "takes no part" in card.notes[-1]
    assert card.load(gpu_layers=0) == 0
    assert card.asked == [0, None]
    full = msgspec.structs.replace(CARD, free_bytes=100 * MIB)
    assert card.load(full) == 0
    assert card.reports[0].note == "No layer goes to the card: 0.1 GB are free there."


@pytest.mark.parametrize("layers", ["auto", 0, 1, 5])
def test_too_little_main_memory_is_told_at_once(card: Card, monkeypatch: pytest.MonkeyPatch, layers: int | str) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        card.asked.append(0)
        raise HostOutOfMemory("There is too little memory for this model")

    monkeypatch.setattr(loading, "open_model", refuse)
    with pytest.raises(HostOutOfMemory):
        card.load(gpu_layers=layers)
    assert len(card.asked) == 1


@pytest.mark.parametrize("value", ["4", -3, True, None, {"steps": "many"}])
def test_strange_remembered_facts_are_ignored(
    card: Card, most: int, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setattr(remembered, "read", lambda _kind, _key: value)
    card.holds = 48
    assert card.load() == most
    assert card.notes == []


def test_a_file_that_only_the_engine_can_read_is_planned_by_what_the_engine_says(
    starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload.files, "read_shape", lambda path: (_ for _ in ()).throw(BadModelFile("no")))
    card = Card(monkeypatch, starter_gguf, 30)
    assert card.load(kv_cache="f16") == 30
    assert card.notes == ["The table of weights in this file cannot be read here: what its layers take is estimated."]


def test_what_the_engine_says_of_a_model_is_what_the_file_says(starter_gguf: Path) -> None:
    true, told = read_shape(starter_gguf), offload.shape_by_engine(binding.library(), starter_gguf)
    for name in ("layers", "hidden", "feed_forward", "heads", "key_length", "value_length", "vocabulary", "parameters"):
        assert getattr(told, name) == getattr(true, name), name
    for setup in (Setup(8192), Setup(2048, "q8_0")):
        assert kv_bytes(told, setup) == kv_bytes(true, setup)
        for blocks in (1, 12, 30):
            assert taken(true, blocks, setup) * 0.9 <= taken(told, blocks, setup) <= taken(true, blocks, setup) * 1.3


def test_a_file_that_nobody_can_read_has_a_typed_error(tmp_path: Path) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(b"GGUF\x03\x00\x00\x00")
    assert offload.shape_of_file(file) is None
    assert offload.shape_of_file(tmp_path / "absent.gguf") is None
    with pytest.raises(BadModelFile):
        offload.shape_by_engine(binding.library(), file)
