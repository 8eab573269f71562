"""`bench`: its figures as JSON and as text, what it refuses, and that Ctrl+C leaves nothing behind."""

from __future__ import annotations

import os
import signal
from itertools import product
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import tomli_w

from backends.bench.figures import Comparison, DepthFigures, Memory, Report, Spread
from tests.conftest import processes_of
from tui import plot
from tui.commands import bench_table, table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tui.commands.conftest import Run, Start, Write

MEMORY = Memory(234_000_000, 160_000_000, 74_000_000, 0, {"CPU KV": 47_000_000})
REPORT = Report(
    model="models/SmolLM2-135M-Instruct.Q4_1.gguf",
    engine="llama-cpp-python 0.3.36",
    device="CPU",
    context_tokens=2816,
    layers=30,
    gpu_layers=0,
    model_bytes=97_000_000,
    load_s=0.15,
    first_token_s=0.0134,
    peak_bytes=234_000_000,
    memory=MEMORY,
    depths=tuple(
        DepthFigures(depth, 0.1 + depth / 500, Spread(440, 420, 460, 5, 0.9375), Spread(speed, 0.9 * speed, speed, 5))
        for depth, speed in ((0, 121.0), (512, 103.0), (2048, 64.4))
    ),
)
AGAINST = {
    "decode_ratio": Comparison(
        "decode, whole path / bare C API", "ratio", Spread(0.98, 0.97, 0.99, 15, 0.96), 0.97, "more"
    ),
    "own_cpu_early_s": Comparison(
        "our CPU per token at token 100", "s", Spread(150e-6, 1e-4, 2e-4, 5, 0.94), 1e-4, "less"
    ),
    "completion_ratio": Comparison(
        "decode, whole path / create_chat_completion", "ratio", None, 1.2, "more", "no room"
    ),
}


def test_the_figures_as_json_have_stable_names_and_units(run: Run, few_layers_gguf: Path, home: Path) -> None:
    table_ = {
        "title": "Few layers",
        "backend": "llama_cpp",
        "context": 512,
        "model": {"family": "SmolLM2-135M-Instruct", "quantization": "Q4_1"},
        "backends": {"llama_cpp": {"source": f"file:{few_layers_gguf}"}},
    }
    (home / "config/presets").mkdir(parents=True)
    (home / "config/presets/few.toml").write_text(tomli_w.dumps(table_))
    # Threads that wait leave the cores to other tests.
    ran = run("bench", "few", "--quick", "--depths", "0,64", "--json", env={"OMP_WAIT_POLICY": "passive"})
    assert (ran.status, ran.err.splitlines()[0]) == (0, "measuring: loading")
    found = ran.json
    assert found["preset"] == "few"
    assert [one["depth_tokens"] for one in found["depths"]] == [0, 64]
    for one, key in product(found["depths"], ("prefill_tokens_per_second", "decode_tokens_per_second")):
        assert 0 < one[key]["low"] <= one[key]["median"] <= one[key]["high"]
    assert found["load_s"] > 0
    assert found["peak_bytes"] == found["memory"]["peak_bytes"] > found["memory"]["engine_bytes"] > 40e6
    assert found["against"] == {}


def test_a_preset_of_another_backend_is_refused_with_what_can_be_measured(run: Run, preset: Write) -> None:
    preset("talker")
    ran = run("bench", "talker", "--json")
    assert (ran.status, ran.out) == (1, "")
    assert "echo cannot be measured" in ran.err
    assert "llama_cpp" in ran.err


@pytest.mark.parametrize("depths", ["", "a", "1,,2", "-1", "99999999"])
def test_depths_that_are_none_are_wrong_usage(run: Run, depths: str) -> None:
    ran = run("bench", f"--depths={depths}")
    assert (ran.status, ran.out) == (2, "")
    assert "not a list of depths" in ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_measurement_that_is_interrupted_leaves_no_process(start: Start, home: Path, number: int) -> None:
    command = start("bench", "starter", "--quick")
    assert command.stderr is not None
    assert command.stderr.readline() == b"measuring: loading\n"
    command.send_signal(number)
    assert command.wait(20) == 130
    assert processes_of(home) == {}
    assert list(home.rglob("spool/*")) == []


def test_a_model_that_answers_is_not_ended_for_a_measurement(run: Run, start: Start, preset: Write) -> None:
    preset("slow", tokens_per_second=2)
    asking = start("ask", "-p", "slow", "--no-save", "a b c d e f g h i j k l m n o p q r s t")
    assert asking.stdout is not None
    assert os.read(asking.stdout.fileno(), 1)
    ran = run("bench", "starter", "--quick")
    assert ran.status == 1
    assert "Slow is busy" in ran.err
    assert "--evict" in ran.err
    assert asking.poll() is None
    asking.send_signal(signal.SIGINT)
    asking.wait(10)


# As text.


def test_everything_fits_into_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "width", lambda: 80)
    course = tuple((number, 100e-6 + number * 1e-8) for number in range(0, 4000, 40))
    report = msgspec.structs.replace(REPORT, against=AGAINST, own_cpu_by_token=course)
    shown = list(bench_table.lines("Starter 135M", report))
    assert max(table.cells(line) for line in shown[3:] if not line.startswith("Intervals")) <= 80
    text = "\n".join(shown)
    assert "\x1b" not in text
    for part in ("121 tok/s", "loaded in 150 ms", "peak memory 234 MB", "0.980", "≥ 0.970", "met", "MISSED", "150 µs"):
        assert part in text
    assert "not measured" in text


def test_bars_are_to_scale_and_fill_the_line() -> None:
    whole, half = plot.bars([("0", 120.0), ("2,048", 60.0)], 40)
    assert 38 <= table.cells(whole) <= 40
    assert half.count("█") * 2 == pytest.approx(whole.count("█"), abs=1)
    assert (whole[:6], half[:6]) == ("    0 ", "2,048 ")


def test_a_terminal_without_blocks_gets_plain_ascii() -> None:
    lines = [
        *plot.bars([("0", 9.5), ("8", 0.0)], 30, ascii_only=True),
        plot.course([1.0, 2.0, 3.0], 3, ascii_only=True),
    ]
    assert all(line.isascii() for line in lines)
    assert lines[0].endswith("# 9.5")


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0], [1.0] * 500, [-1.0, 2.0]])
def test_a_course_is_never_wider_than_its_line(values: Any) -> None:
    assert table.cells(plot.course(values, 72)) == min(72, len(values))
    assert list(plot.bars([], 20)) == []
