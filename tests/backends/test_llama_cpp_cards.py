"""Cards as the engine finds them, and true loads onto one: the engine's processor stands in for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from backends.base import Cancel, ChatRequest, Message
from backends.errors import OutOfMemory
from backends.events import LoadProgress
from backends.gguf.files import read_shape
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions, binding, engine, loading, offload
from backends.llama_cpp.binding import GpuDevice
from backends.llama_cpp.model import load_model
from backends.planning import learned
from backends.planning.memory import Setup, engine_layers, place
from backends.planning.result import MARGIN_BYTES
from tests import fake_driver
from tests.backends.stand_in_card import stand_in_card

MIB, GIB = 1024**2, 1024**3
MADE_UP = GpuDevice("a card", 7 * GIB, 8 * GIB)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> GpuDevice:
    return stand_in_card(monkeypatch)


def test_of_several_cards_the_one_with_most_free_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [GpuDevice("A", 3 * GIB, 8 * GIB), GpuDevice("B", 7 * GIB, 8 * GIB), GpuDevice("C", 7 * GIB, 24 * GIB)]
    for found, best in ((cards, "B"), (cards[:1], "A"), (cards[::-1], "C"), ([], None)):
        monkeypatch.setattr(binding, "gpus", lambda found=found: tuple(found))
        card = offload.find_card()
        assert (card and card.description) == best


def test_a_card_is_described_by_its_driver(stand_in: GpuDevice) -> None:
    assert stand_in.name == "CPU"
    assert binding.gpu_descriptions() == (stand_in.description,)
    assert 0 < stand_in.free_bytes <= stand_in.total_bytes
    assert binding.memory_now(stand_in).total_bytes == stand_in.total_bytes
    assert binding.memory_now(MADE_UP) == MADE_UP


def test_a_model_is_loaded_as_planned(stand_in: GpuDevice, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = read_shape(starter_gguf)
    most = place(shape, Setup(2048), engine_layers(20)).card.total
    tight = msgspec.structs.replace(stand_in, free_bytes=most + MARGIN_BYTES)
    monkeypatch.setattr(binding, "gpus", lambda: (tight,))
    reports: list[LoadProgress] = []
    backend = LlamaCppBackend()
    loaded = backend.load(str(starter_gguf), LlamaCppOptions(context=2048, threads=1), reports.append, Cancel())
    backend.unload()
    # Card and processor have one name here, so the engine's count has the buffers of both: fewer than 20 fit.
    assert loaded.gpu_layers is not None
    assert 0 < loaded.gpu_layers < 20
    assert (loaded.output_on_gpu, loaded.device) == (True, stand_in.description)
    assert reports[0].note.startswith(f"{loaded.gpu_layers} of 30 layers and a part of one more go to")
    assert loaded.notes == ()


def test_a_part_of_a_layer_stays_in_main_memory(
    stand_in: GpuDevice, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(binding.log, "write", lambda _level, text: said.append(text.decode("utf-8", "replace")))
    report, asked = (lambda _progress: None), LlamaCppOptions(context=512, threads=1)
    for held in (("ffn_up", "ffn_down"), ()):
        said.clear()
        opened = loading.open_model(
            binding.library(), starter_gguf, asked, 12, report, Cancel(), gpu=stand_in, shape=read_shape(starter_gguf),
            held=held,
        )  # fmt: skip
        opened.free()
        kept = {found[1] for line in said if (found := re.search(r"tensor (\S+) .*overrid", line))}
        assert kept == {f"blk.19.{name}.weight" for name in held}


def test_of_two_cards_of_one_name_it_is_told_which(
    stand_in: GpuDevice, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = msgspec.structs.replace(stand_in, free_bytes=100 * MIB, name="CPU1")
    monkeypatch.setattr(binding, "gpus", lambda: (twin, stand_in))
    monkeypatch.setattr(binding, "gpu_descriptions", lambda: (stand_in.description,) * 2)
    backend, reports = LlamaCppBackend(), list[LoadProgress]()
    loaded = backend.load(str(starter_gguf), LlamaCppOptions(context=512, threads=1), reports.append, Cancel())
    backend.unload()
    assert (loaded.gpu_layers, loaded.device) == (30, f"{stand_in.description} (CPU)")


def test_a_shortage_in_the_middle_of_an_answer_is_learned_from(
    stand_in: GpuDevice, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LlamaCppBackend()
    options = LlamaCppOptions(context=512, threads=1, gpu_layers=4)
    backend.load(str(starter_gguf), options, lambda _progress: None, Cancel())

    def failing(*_args: object, **_named: object) -> Iterator[None]:
        yield from ()
        raise OutOfMemory("There is too little memory for this model")

    monkeypatch.setattr(engine, "answer", failing)
    with pytest.raises(OutOfMemory):
        list(backend.chat(ChatRequest((Message("user", "Hi"),)), Cancel()))
    backend.unload()
    assert learned.margin_bytes(stand_in.description) == MARGIN_BYTES + learned.STEP_BYTES


def test_only_the_chosen_card_or_none_takes_part(stand_in: GpuDevice, starter_gguf: Path) -> None:
    lib = binding.library()
    for gpu, used in ((stand_in, True), (None, False)):
        handle = load_model(lib, starter_gguf, LlamaCppOptions(), 31, lambda _progress: None, Cancel(), gpu)
        lines = binding.log.lines()
        lib.llama_model_free(handle)
        assert any("using device CPU" in line for line in lines) == used


_LOADING = """
import os
import sys
from pathlib import Path
from backends.base import Cancel
from backends.llama_cpp import LlamaCppBackend, LlamaCppOptions, binding
from backends.planning import learned
binding._GPU_DEVICE = 0
binding.library().llama_supports_gpu_offload = lambda: True
backend = LlamaCppBackend()
options = LlamaCppOptions(context=256, threads=1)
backend.load(sys.argv[1], options, lambda p: None, Cancel())
# The context is there by now: what another look finds is not its size.
says = Path(os.environ["FAKE_NVML"])
says.write_text(says.read_text().replace("free0", "free0 %d\\nwas" % (binding.gpus()[0].free_bytes + 100 * 2**20)))
loaded = backend.load(sys.argv[1], options, lambda p: None, Cancel())
print(learned.overhead_bytes(loaded.device), loaded.gpu_layers)
"""


def test_the_first_look_at_a_card_measures_what_the_engines_context_takes(
    stand_in: GpuDevice, starter_gguf: Path, tmp_path: Path
) -> None:
    told = f"cards 1\ntext0 {stand_in.description}\ntotal0 {stand_in.total_bytes}\n"
    environment = fake_driver.environment(tmp_path, told + f"free0 {stand_in.free_bytes + 200 * MIB}\n")
    command = [sys.executable, "-c", _LOADING, str(starter_gguf)]
    run = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(200 * MIB), "30"]
    assert learned.overhead_bytes(stand_in.description) == 200 * MIB


_LOOKING = """
from backends.llama_cpp.offload import find_card
from backends.planning import learned
card = find_card()
print(card.free_bytes, card.total_bytes, learned.overhead_bytes(card.description))
"""


@pytest.mark.gpu
def test_what_a_true_card_gives_up_for_the_engines_context_is_measured() -> None:
    command = [sys.executable, "-c", _LOOKING]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    free, total, taken = map(int, run.stdout.split())
    assert 0 < free <= total
    assert 50 * MIB <= taken <= 1536 * MIB
