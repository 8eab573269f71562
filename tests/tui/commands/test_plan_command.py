"""`plan`: the article's table for any machine, every figure explained, without a model, a card or a network."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import fake_driver
from tests.backends.fake_hub import FakeHub, go_online
from tests.gguf_files import QWEN_14B, sparse_model
from tests.own_presets import own_preset

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start

GIB = 1024**3
ARTICLE = ("8b-q4_k_m", "14b-q3_k_s-offload", "32b-mixed-ssd")
MACHINE, SMALL = "rtx3070-8gb-32gb", "rtx4060-8gb-8gb-nvme"


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An RTX 4060 with 7.6 GiB free."""
    says = f"cards 1\ntext0 NVIDIA GeForce RTX 4060\ntotal0 {8 * GIB}\nfree0 {round(7.6 * GIB)}\n"
    found = fake_driver.environment(tmp_path / "driver", says)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return Path(found["FAKE_NVML"])


def plan_of(document: Any, name: str) -> Any:
    return next(plan for plan in document["presets"] if plan["name"] == name)


def test_the_articles_whole_table_is_answered_for_all_three_presets(run: Run) -> None:
    ran = run("plan", *ARTICLE, "--machine", MACHINE)
    assert (ran.status, ran.err) == (0, "")
    head = ran.out.index("PRESET")
    rows = {line.split()[0]: line for line in ran.out[head:].splitlines()[1:4]}
    assert "whole on the card" in rows["8b-q4_k_m"]
    assert "15–18" in rows["8b-q4_k_m"]
    assert "48/48" in rows["14b-q3_k_s-offload"]
    assert "9–12" in rows["14b-q3_k_s-offload"]
    assert "card and CPU" in rows["32b-mixed-ssd"]
    assert "3–5" in rows["32b-mixed-ssd"]
    for row in ("layers on the card", "context", "VRAM", "RAM", "SSD, each token", "tokens/s", "an answer", "loss"):
        assert len(re.findall(rf"\n  {row} +[^▕ ]", ran.out)) == 3, row
    for published in ("4.2 GB", "6.1 GB", "2.9 GB", "5.8 GB", "8 GB", "$0.0008", "$0.0015", "$0.0042"):
        assert published in ran.out
    assert "offload to the CPU is not needed" in " ".join(ran.out.split())


def test_every_figure_says_where_it_is_from(run: Run) -> None:
    out = run("plan", "14b", "--machine", MACHINE).out
    assert "llama.cpp's rules for Q3_K_S of DeepSeek-R1-Distill-Qwen-14B" in " ".join(out.split())
    for told in ("448 GB/s (published)", "51.2 GB/s (published)", "0.55 GB/s (published)", "0.65 published", "assumed"):
        assert told in out
    assert "A token reads 6.5 GB from the card at 0.65 of 448 GB/s" in out
    assert "limit of 220 W" in out


def test_the_json_has_the_keys_that_others_build_on(run: Run) -> None:
    document = run("plan", *ARTICLE, "--machine", MACHINE, "--json").json
    assert document["machine"]["title"] == "RTX 3070 8 GB · 32 GB · SATA SSD"
    for name in ARTICLE:
        plan = plan_of(document, name)
        for tier in plan["bytes"].values():
            assert tier["weights"] + tier["kv"] + tier["compute"] + tier["overhead"] == tier["total"]
        assert plan["tokens_per_second"]["predicted"] > 0
        assert plan["tokens_per_second"]["measured"] is None
        assert {
            "gpu_layers",
            "layers",
            "output_on_card",
            "context",
            "kv_cache",
            "alternatives",
            "warnings",
        } <= plan.keys()
        assert plan["shape"]["origin"] == "rules"


def test_a_preset_that_is_whole_on_the_card_gets_a_better_quantisation_named_with_its_price(run: Run) -> None:
    out = run("plan", "8b", "--machine", MACHINE).out
    assert "Q6_K → whole on the card, 6.9 GB, ~46 tok/s, published loss 0.0055 instead of 0.028 (KLD)" in out


def test_the_table_alone_is_short(run: Run) -> None:
    out = run("plan", "--machine", MACHINE, "--brief").out
    assert "TOKENS/S" in out.splitlines()[-1]
    assert "Why" not in out


def test_a_machine_of_ones_own_is_read_from_its_file_and_mistakes_are_placed(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    shutil.copy(Path("presets/machines").absolute() / f"{MACHINE}.toml", mine)
    assert plan_of(run("plan", "14b", "--machine", str(mine), "--json").json, ARTICLE[1])["gpu_layers"] == 48
    mine.write_text("title = 'x'\n[ram]\ntotl_gib = 3\n")
    ran = run("plan", "--machine", str(mine))
    assert ran.status == 1
    assert "line 3" in ran.err
    assert "total_gib" in ran.err
    ran = run("plan", "--machine", "rtx3070")
    assert ran.status == 1
    assert MACHINE in ran.err


def test_a_machine_of_which_little_is_said_is_planned_without_inventing_the_rest(run: Run, tmp_path: Path) -> None:
    bare = tmp_path / "bare.toml"
    bare.write_text('[[gpus]]\nname = "A card"\nvram_gib = 8\n')
    ran = run("plan", "32b", "--machine", str(bare))
    assert ran.out.splitlines()[0] == "bare.toml"
    assert re.search(r"32b-mixed-ssd +card and CPU +33/64 +8.1 GB +7.4 GB +– +– ", ran.out)
    plan = plan_of(run("plan", "32b", "--machine", str(bare), "--json").json, ARTICLE[2])
    assert plan["bytes"]["ssd"]["total"] is None
    assert {(one["ssd_bytes"], one["whole"]) for one in plan["alternatives"]} == {(None, False), (0, True)}


def test_a_model_that_streams_says_so_in_the_table(run: Run, tmp_path: Path) -> None:
    small = tmp_path / "small.toml"
    card = '[[gpus]]\nname = "A card"\nvram_gib = 4\nfree_gib = 3.6\n'
    small.write_text(f"{card}[ram]\ntotal_gib = 8\navailable_gib = 5\n")
    assert re.search(r"32b-mixed-ssd +card, CPU and disk +12/64", run("plan", "--machine", str(small), "--brief").out)


@pytest.mark.parametrize("machine", ["rtx3060-8gb-16gb", "rtx3070-8gb-64gb"])
def test_with_16_gb_of_memory_or_more_the_32b_reads_nothing_from_the_disk_and_that_is_said(
    run: Run, machine: str
) -> None:
    out = " ".join(run("plan", "32b", "--machine", machine).out.split())
    assert re.search(
        r"Main memory holds the CPU's part, [\d.]+ GB of the [\d.]+ GB that are available: once loaded", out
    )
    assert re.search(r"SSD, each token none in use", out)
    plan = plan_of(run("plan", "32b", "--machine", machine, "--json").json, ARTICLE[2])
    assert (plan["bytes"]["ssd"]["total"], plan["needs_bytes"], plan["reads_ahead"]) == (0, None, False)


def test_with_8_gb_of_memory_the_32b_streams_and_every_way_out_stands_beside_it(run: Run) -> None:
    out = run("plan", "32b", "--machine", SMALL).out
    flat = " ".join(out.split())
    assert re.search(r"[\d.]+ GB of the weights stay in memory, and each token reads the other [\d.]+ GB", flat)
    assert "Loading reads the whole file once: 14.4 GB, about 4 s." in flat
    assert re.search(r"GB from the disk at 0\.95 of 3\.5 GB/s, \d+ ms while the CPU computes: ", flat)
    table = out[out.index("Other files, with what each would do here") :].splitlines()
    assert table[1].split() == ["FILE", "SIZE", "LAYERS", "RAM", "SSD/TOKEN", "PREDICTED", "KLD"]
    assert re.match(r" +Q3_K_S \(planned\) +14\.4 GB +\d\d/64 +[\d.]+ GB +[\d.]+ GB +~[\d.]+ +0\.2\*$", table[2])
    names = [line.split()[0] for line in table[3:] if "/64 " in line]
    assert {"IQ3_XXS", "IQ3_M"} <= set(names)
    assert re.search(r"\n +Qwen-14B Q4_K_M +9\.0 GB +\d\d/48 +", out)
    assert re.search(r"\n +Qwen-14B Q3_K_\w +[67]\.\d GB +48/48 +[\d.]+ MB +none +~\d\d +–", out)


def test_the_json_of_a_model_that_streams_has_every_figure(run: Run) -> None:
    plan = plan_of(run("plan", "32b", "--machine", SMALL, "--json").json, ARTICLE[2])
    ram, ssd = plan["bytes"]["ram"], plan["bytes"]["ssd"]
    assert plan["needs_bytes"] > ram["free"] > ram["total"] > plan["kept_bytes"] > 0
    assert ssd["weights"] == ssd["total"] > 0
    assert plan["reads_ahead"] is True
    others = [one for one in plan["alternatives"] if one["changes"] in ("quantization", "model")]
    assert {"quantization", "model"} == {one["changes"] for one in others}
    for one in others:
        assert one["layers"] >= one["gpu_layers"] > 0
        assert min(one["ram_bytes"], one["vram_bytes"], one["weight_bytes"]) > 0
        assert one["ssd_bytes"] >= 0
        assert one["tokens_per_second"] > 0
    published = {one["quantization"]: one["published_kld"] for one in others if one["changes"] == "quantization"}
    assert published["IQ3_M"] == 0.102534
    models = [one for one in others if one["changes"] == "model"]
    assert {one["family"] for one in models} == {"DeepSeek-R1-Distill-Qwen-14B"}
    assert {one["published_kld"] for one in models} == {None}


@pytest.mark.parametrize("context", ["8k", "12", "-1", "99999999999"])
def test_a_context_that_is_none_is_refused(run: Run, context: str) -> None:
    ran = run("plan", "--machine", MACHINE, "--context", context)
    assert ran.status == 2
    assert "no number of tokens" in ran.err


def test_this_machine_is_planned_with_its_card_and_what_is_free_on_it(run: Run, card: Path) -> None:
    document = run("plan", "14b", "--no-measure", "--json").json
    (gpu,) = document["machine"]["gpus"]
    assert gpu["name"] == "NVIDIA GeForce RTX 4060"
    plan = plan_of(document, ARTICLE[1])
    if any("leaves NVIDIA GeForce RTX 4060 idle" in one for one in plan["warnings"]):  # a build for the processor
        assert plan["gpu_layers"] == 0
        assert any("48 of 48 layers would be there" in one for one in plan["warnings"])
        said = card.read_text()
        card.write_text(said[: said.index("free0")] + f"free0 {GIB // 5}\n")
        full = plan_of(run("plan", "14b", "--no-measure", "--json").json, ARTICLE[1])
        assert any("no room for the model either" in one for one in full["warnings"])
    else:
        assert plan["gpu_layers"] == 48


def test_a_file_that_is_here_is_read_instead_of_the_rules(run: Run, home: Path, tmp_path: Path) -> None:
    model = sparse_model(tmp_path / "14b.gguf", QWEN_14B, "Q4_K_M", small_vocabulary=True)
    own_preset(home, "mine", model, family="Something", kv_cache="q8_0")
    plan = plan_of(run("plan", "mine", "--machine", "rtx4060-8gb-laptop", "--json").json, "mine")
    assert (plan["shape"]["origin"], plan["layers"]) == ("file", 48)
    assert plan["gpu_layers"] >= 38
    with model.open("r+b") as file:
        file.truncate(4000)
    ran = run("plan", "mine", "--machine", MACHINE)
    assert ran.status == 0
    assert "damaged or incomplete" in ran.out
    plan = plan_of(run("plan", "mine", "--machine", MACHINE, "--json").json, "mine")
    assert "damaged" in plan["problem"]
    assert "gpu_layers" not in plan


def test_a_preset_file_that_is_broken_is_named_and_the_others_are_planned(run: Run, home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "broken.toml").write_text("title = ")
    ran = run("plan", "--machine", MACHINE, "--brief")
    assert ran.status == 0
    assert "presets check broken" in ran.err
    assert "48/48" in ran.out


def test_headers_are_fetched_on_demand_alone_and_a_failure_leaves_the_rules(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "DeepSeek-R1-Distill-Qwen-14B"
    model = sparse_model(tmp_path / f"{name}-Q3_K_S.gguf", QWEN_14B, "Q3_K_S", small_vocabulary=True)
    with FakeHub() as hub:
        hub.add(model, f"bartowski/{name}-GGUF")
        go_online(monkeypatch, hub.root)
        without = plan_of(run("plan", "14b", "--machine", MACHINE, "--json").json, ARTICLE[1])
        assert without["shape"]["origin"] == "rules"
        assert hub.asked == []
        ran = run("plan", "14b", "8b", "--machine", MACHINE, "--json", "--fetch-headers")
        assert plan_of(ran.json, ARTICLE[1])["shape"]["origin"] == "header"
        assert plan_of(ran.json, ARTICLE[0])["shape"]["origin"] == "rules"
        assert "8b-q4_k_m: " in ran.err


def test_giving_up_on_a_server_that_is_silent_takes_no_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        go_online(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        fetching = start("plan", "--machine", MACHINE, "--fetch-headers")
        silent.settimeout(20)
        line, _ = silent.accept()
        with line:
            assert line.recv(4)
            began = time.monotonic()
            fetching.send_signal(signal.SIGINT)
            assert fetching.wait(20) == 130
            assert time.monotonic() - began < 5


def test_nothing_is_invented_about_a_model_that_nobody_knows(run: Run, home: Path) -> None:
    own_preset(home, "mine", "hf:nobody/Nobody-7B-GGUF/Nobody-7B-Q4_K_M.gguf", family="Nobody-7B")
    ran = run("plan", "mine", "--machine", MACHINE)
    assert "Nothing is known yet of the layers of Nobody-7B Q4_K_M" in ran.out
    assert "tok/s" not in ran.out


def test_what_an_answer_showed_is_the_third_column_the_next_time(run: Run, home: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "short.toml").write_text('extends = "starter"\ntitle = "Short"\n[sampling]\nmax_tokens = 20\n')
    before = plan_of(run("plan", "short", "--no-measure", "--json").json, "short")
    assert before["measured"] is None
    assert run("ask", "-p", "short", "Tell a long story about a lighthouse and the sea.").status == 0
    run("stop")
    after = plan_of(run("plan", "short", "--no-measure", "--json").json, "short")
    assert after["tokens_per_second"]["measured"] > 0
    assert after["measured"]["layers"] == 30
    assert after["measured"]["ram_bytes"] == pytest.approx(after["bytes"]["ram"]["total"], rel=0.35)
    assert after["tokens_per_second"]["predicted"] is None  # the memory was not measured, and nothing is made up


def test_the_memory_is_measured_once_and_then_speeds_are_predicted(run: Run, home: Path) -> None:
    first = run("plan", "starter", "--json")
    assert "Measuring the memory, once" in first.err
    known = json.loads((home / "cache" / "remembered.json").read_text()).get("memory-bandwidth")
    plan = plan_of(first.json, "starter")
    if known is None:  # somebody else computes here meanwhile, so it was not to be trusted
        assert "stays unknown" in first.err
        assert plan["tokens_per_second"]["predicted"] is None
        return
    assert plan["tokens_per_second"]["predicted"] > 1
    again = run("plan", "starter", "--json")
    assert "memory" not in again.err


def test_this_machine_can_be_written_down_and_planned_for_elsewhere(run: Run, tmp_path: Path, card: Path) -> None:
    text = run("plan", "--this-machine", "--no-measure").out
    assert "RTX 4060" in text
    (tmp_path / "this.toml").write_text(text)
    ran = run("plan", "14b", "--machine", str(tmp_path / "this.toml"), "--json")
    assert plan_of(ran.json, ARTICLE[1])["gpu_layers"] == 48
