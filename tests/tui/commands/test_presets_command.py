"""`presets`: the table, everything about one, and what is wrong with the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write

BUILT_IN = [
    "8b-q4_k_m", "14b-q3_k_s-offload", "32b-mixed-ssd", "1.5b-q4_k_m", "starter", "exl2-14b-3.5bpw", "exl2-8b-4.0bpw",
]  # fmt: skip


def test_the_list_shows_every_preset_with_its_key_and_whether_its_model_is_here(run: Run) -> None:
    ran = run("presets")
    head, *lines = ran.out.splitlines()
    assert head.split() == ["KEY", "NAME", "TITLE", "MODEL", "STATE", "PUBLISHED"]
    keyed, others = lines[:5], lines[5:]
    assert [line.split()[:2] for line in keyed] == [
        [f"F{key}", name] for key, name in zip(range(2, 7), BUILT_IN[:5], strict=True)
    ]
    assert [line.split()[0] for line in others] == BUILT_IN[5:]
    assert "not downloaded" in lines[0]
    assert "15–18 tok/s, 4.2 GB VRAM, $0.0008 an answer" in lines[0]
    assert "ready" in keyed[-1]
    assert "file missing" in others[0]
    assert run("presets", "list").out == ran.out


def test_the_list_as_json_has_stable_keys_and_null_for_unknown(run: Run) -> None:
    rows = {row["name"]: row for row in run("presets", "--json").json["presets"]}
    assert list(rows) == BUILT_IN
    starter = rows["starter"]
    assert starter["size_bytes"] > 50_000_000
    assert starter["ready"] is True
    assert starter["published"] is None
    assert (starter["slot"], starter["key"]) == (5, "F6")
    assert rows["8b-q4_k_m"]["size_bytes"] is None
    assert rows["8b-q4_k_m"]["ready"] is False


def test_names_alone_are_for_completion(run: Run, preset: Write) -> None:
    preset("mine")
    assert run("presets", "list", "--names").out.split() == [*BUILT_IN, "mine"]


def test_a_broken_file_is_listed_after_the_table_and_takes_nothing_with_it(run: Run, preset: Write) -> None:
    preset("good")
    preset("bad", repeat="many")
    ran = run("presets")
    assert ran.status == 0
    assert "good" in ran.out
    assert "problem: Preset bad: wrong type" in ran.out
    assert "backends.echo.repeat: expected a whole number, found text in quotes" in ran.out
    problem = run("presets", "--json").json["problems"][0]
    assert (problem["name"], problem["key"]) == ("bad", "backends.echo.repeat")
    assert problem["line"] > 1
    assert problem["file"].endswith("bad.toml")


def test_check_fails_for_a_broken_file_and_not_for_good_ones(run: Run, preset: Write) -> None:
    preset("good")
    assert run("presets", "check").status == 0
    path = preset("bad", context="x")
    ran = run("presets", "check")
    assert ran.status == 1
    assert "ok: good" in ran.out
    assert "problem: Preset bad" in ran.out
    assert run("presets", "check", "good").status == 0
    assert run("presets", "check", "bad").status == 1
    assert run("presets", "check", str(path), "starter", "--json").json["ok"] is False


def test_check_reads_a_file_anywhere_and_tells_when_there_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "starter"\ntitle = "Mine"\ntemperature = 1\n')
    ran = run("presets", "check", "./mine.toml")
    assert ran.status == 1
    assert "line 3: temperature" in ran.out
    assert "Did you mean sampling.temperature?" in ran.out
    ran = run("presets", "check", "./none.toml")
    assert ran.status == 1
    assert "No such file" in ran.out


def test_show_tells_the_options_in_effect_and_the_file(run: Run, preset: Write) -> None:
    path = preset("mine", text="said", sampling={"temperature": 0.1})
    ran = run("presets", "show", "mine")
    assert "temperature 0.1" in ran.out
    assert "said" in ran.out
    assert str(path) in ran.out
    shown = run("presets", "show", "mine", "--json").json
    assert shown["options"]["echo"]["text"] == "said"
    assert shown["options"]["echo"]["context"] == 4096
    assert shown["sampling"]["temperature"] == 0.1
    assert shown["file"] == str(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_built_in_can_be_shown(run: Run, name: str) -> None:
    shown = run("presets", "show", name, "--json").json
    assert shown["name"] == name
    assert all(options["context"] > 1024 for options in shown["options"].values())


def test_hostile_names_and_titles_are_harmless(run: Run, preset: Write) -> None:
    preset("evil\x1b[31m\u202e", text="\x1b]0;title\x07")
    for ran in (run("presets"), run("presets", "check"), run("presets", "--json"), run("presets", "show", "evil")):
        assert ran.status == 0
        assert not set(ran.out) & set("\x1b\x07\u202e")


def test_the_modelfile_of_a_preset_is_printed_where_its_file_is_here(run: Run, starter_gguf: Path) -> None:
    ran = run("presets", "show", "starter", "--modelfile")
    assert ran.out == f"# ollama create deepseek-tui/smollm2-135m-instruct.q4_1 -f Modelfile\nFROM {starter_gguf}\n"
    ran = run("presets", "show", "8b-q4_k_m", "--modelfile")
    assert (ran.status, "not downloaded" in ran.err) == (1, True)
    ran = run("presets", "show", "exl2-14b-3.5bpw", "--modelfile")
    assert (ran.status, "does not say how to run with llama_cpp" in ran.err) == (1, True)
