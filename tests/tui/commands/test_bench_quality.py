"""`bench --quality`: the figures as text and JSON, shown again, in the background, and as measured in the plan."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w

from tests.backends.tiny_models import write_bpe_model
from tests.conftest import processes_of
from tests.tui.plans.test_loss import LOSS
from tui.commands import bench_quality_words as words
from tui.commands import table

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two models that differ in nothing but their templates."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # threads that wait leave the cores to other tests
    for name in ("model", "base"):
        write_bpe_model(tmp_path / f"{name}.gguf", f"the {name}'s template")
    return str(tmp_path / "model.gguf"), str(tmp_path / "base.gguf")


def test_a_loss_is_measured_shown_again_and_told_by_the_plan(run: Run, pair: tuple[str, str], home: Path) -> None:
    model, base = pair
    ran = run("bench", "--quality", model, "--against", base, "--chunks", "2", "--json")
    assert (ran.status, ran.err) == (0, "")  # a program gets nothing but the object
    found = ran.json
    assert found["scored"] == 510
    assert found["same_top"]["value"] == 1
    assert abs(found["kld"]["value"]) < 1e-3
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found["model"]["sha256"])
    assert found["model"]["sha256"] != found["base"]["sha256"]
    # Once more nothing is measured.
    again = run("bench", "--quality", model, "--against", base, "--chunks", "2")
    assert "The base's probabilities stay" not in again.out
    assert again.status == 0
    assert "Measured before with the very same files" in again.out
    assert found["base"]["sha256"] in again.out
    assert "same first token" in again.out
    # It stands in the plan and with the preset.
    table_ = {
        "title": "Mine",
        "backend": "llama_cpp",
        "context": 512,
        "model": {"family": "tiny", "quantization": "F32"},
        "backends": {"llama_cpp": {"source": f"file:{model}"}},
    }
    (home / "config/presets").mkdir(parents=True)
    (home / "config/presets/mine.toml").write_text(tomli_w.dumps(table_))
    (planned,) = run("plan", "mine", "--no-measure", "--json").json["presets"]
    assert planned["loss"]["base"]["file"] == "base.gguf"
    (loss,) = (one for one in planned["columns"] if one["name"] == "loss")
    assert loss["measured"].startswith("KLD ")
    assert "against base.gguf, over 510 tokens" in run("presets", "show", "mine").out
    assert run("presets", "show", "mine", "--json").json["loss"]["scored"] == 510


def test_how_far_it_is_goes_to_stderr_and_where_what_is_kept_lies(run: Run, pair: tuple[str, str], home: Path) -> None:
    ran = run("bench", "--quality", pair[0], "--against", pair[1], "--chunks", "2", "--keep")
    assert ran.status == 0
    (rows,) = (home / "cache/quality").glob("*.logits")
    assert f"until you remove them: {rows}" in ran.out
    assert "model.gguf against base.gguf" in ran.out
    told = ran.err.splitlines()  # a stage that is over before anybody looks is not among them
    assert told
    assert set(told) <= set(words._STAGES.values())


def test_it_goes_on_in_the_background_and_is_found_there(
    run: Run, start: Start, starter_gguf: Path, home: Path, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    named = ("bench", "--quality", str(starter_gguf), "--against", str(starter_gguf))
    begun = run(*named, "--detach", "--json").json
    assert processes_of(home)
    watching = start(*named)
    assert watching.stderr is not None
    assert b"is being measured already" in watching.stderr.readline()
    wait_until(lambda: b"running the base" in watching.stderr.readline() if watching.stderr else True)
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 130
    assert "Measuring SmolLM2-135M-Instruct.Q4_1.gguf against" in run("ps").out
    assert run("stop", begun["key"]).status == 0
    wait_until(lambda: processes_of(home) == {})


def test_a_running_measurement_of_less_is_not_taken_for_the_one_that_is_wanted(
    run: Run, starter_gguf: Path, home: Path, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    named = ("bench", "--quality", str(starter_gguf), "--against", str(starter_gguf))
    begun = run(*named, "--chunks", "40", "--detach", "--json").json
    for other in ((), ("--chunks", "2"), ("--chunks", "40", "--keep")):
        ran = run(*named, *other)
        assert (ran.status, ran.out) == (1, "")
        assert "It takes 40 chunks, and does not keep the base's probabilities." in ran.err
        assert f"deepseek-tui stop {begun['key']}" in ran.err
    assert run("stop", begun["key"]).status == 0
    wait_until(lambda: processes_of(home) == {})


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--quality", "a.gguf"), "needs --against BASE"),
        (("--quality", "a.gguf", "--against"), "needs --against BASE"),
        (("--chunks", "3"), "--chunks belongs to --quality"),
        (("--text", "x"), "--text belongs to --quality"),
        (("--keep",), "--keep belongs to --quality"),
        (("starter", "--quality", "a", "--against", "b"), "none of the other options"),
        (("--quality", "a", "--against", "b", "--evict"), "none of the other options"),
        (("starter", "--against", "b"), "only with --quality"),
        (("--quality", "a", "--against", "b", "--chunks", "0"), "not a number of chunks"),
        (("--quality", "a", "--against", "b", "--disk", "-1"), "not a number of GB"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(run: Run, arguments: tuple[str, ...], what: str) -> None:
    ran = run("bench", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert what in ran.err


def test_against_may_stand_before_the_preset_as_it_always_could(run: Run) -> None:
    ran = run("bench", "--against", "no-such-preset")
    assert ran.status == 1
    assert "no-such-preset" in ran.err


def test_a_model_that_is_not_here_is_told_with_the_next_step(run: Run, pair: tuple[str, str]) -> None:
    ran = run("bench", "--quality", "32b-mixed-ssd", "--against", pair[1])
    assert ran.status == 1
    assert "is not here as a GGUF file" in ran.err
    assert "deepseek-tui pull" in ran.err
    ran = run("bench", "--quality", "/nowhere/at/all.gguf", "--against", pair[1])
    assert ran.status == 1
    assert "not there" in ran.err


def test_a_name_that_is_not_utf_8_is_told(run: Run, pair: tuple[str, str], tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"we\xffird.gguf")
    strange.hardlink_to(pair[0])
    for named in ((str(strange), pair[1]), (pair[0], str(strange))):
        ran = run("bench", "--quality", named[0], "--against", named[1])
        assert ran.status == 1
        assert "name is not UTF-8" in ran.err
        assert "Traceback" not in ran.err


def test_the_figures_fit_into_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list(words.lines(LOSS, 80))
    assert max(table.cells(line) for line in shown[6:-2]) <= 80
    text = "\n".join(shown)
    for part in ("0.0821", "0.0023", "90.70 %", "0.40 %", "1.0110", "6,630 of 13,312 scored", "sha256:b", "Q3_K_S"):
        assert part in text
