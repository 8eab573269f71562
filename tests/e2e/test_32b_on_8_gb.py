"""The README's page about a 32B on a card of 8 GB, followed word for word, with small files under the true names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.jobs import launch
from presets.built import built_file
from presets.catalog import find, load_catalog
from tests.backends.fake_hub import FakeHub, go_online
from tests.backends.tiny_models import bpe_vocabulary
from tests.gguf_files import Tensors, write_gguf

ROOT = Path(__file__).resolve().parents[2]
PAGE = "**32B on a card of 8 GB.**"
READY = "bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF"
WHOLE = "unsloth/DeepSeek-R1-Distill-Qwen-32B-GGUF"
PARTS = "DeepSeek-R1-Distill-Qwen-32B-F16/DeepSeek-R1-Distill-Qwen-32B-F16-{:05}-of-00002.gguf"
LAYERS, HIDDEN, FEED_FORWARD = 24, 256, 256
_U16, _U32, _I32, _F32, _STRING, _ARRAY = 2, 4, 5, 6, 8, 9
_FULL, _HALF = 0, 1  # ggml's f32 and f16


def commands() -> list[str]:
    """The lines of the page's blocks, without their remarks."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    page = text[text.index(PAGE) :].split("\n\n**", 1)[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, starter_gguf: Path, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        hub.publish("DeepSeek-R1-Distill-Qwen-32B-Q3_K_S.gguf", starter_gguf.read_bytes(), tmp_path, READY)
        for number, part in enumerate(write_parts(tmp_path), 1):
            hub.publish(PARTS.format(number), part.read_bytes(), tmp_path, WHOLE)
        yield hub
        follow("deepseek-tui stop --force")
    for one in launch.survey():
        launch.stop(one.key, force=True)


def write_parts(folder: Path) -> list[Path]:
    """Write a Llama of 24 layers in F16, all weights 0, in two parts."""
    names, types, merges = bpe_vocabulary()
    first = names.index("hello") + 1
    facts: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, "llama"),
        "general.name": (_STRING, "small"),
        "general.file_type": (_U32, 1),
        "llama.context_length": (_U32, 8192),
        "llama.embedding_length": (_U32, HIDDEN),
        "llama.block_count": (_U32, LAYERS),
        "llama.feed_forward_length": (_U32, FEED_FORWARD),
        "llama.attention.head_count": (_U32, 4),
        "llama.attention.head_count_kv": (_U32, 4),
        "llama.attention.layer_norm_rms_epsilon": (_F32, 1e-5),
        "llama.rope.dimension_count": (_U32, HIDDEN // 4),
        "tokenizer.ggml.model": (_STRING, "gpt2"),
        "tokenizer.ggml.pre": (_STRING, "llama-bpe"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, names)),
        "tokenizer.ggml.token_type": (_ARRAY, (_I32, types)),
        "tokenizer.ggml.merges": (_ARRAY, (_STRING, merges)),
        "tokenizer.ggml.bos_token_id": (_U32, first),
        "tokenizer.ggml.eos_token_id": (_U32, first + 1),
    }
    square, wide, back = (HIDDEN, HIDDEN), (HIDDEN, FEED_FORWARD), (FEED_FORWARD, HIDDEN)
    tensors: Tensors = {"token_embd.weight": (_HALF, (HIDDEN, len(names))), "output_norm.weight": (_FULL, (HIDDEN,))}
    for layer in range(LAYERS):
        block: Tensors = {f"{name}_norm.weight": (_FULL, (HIDDEN,)) for name in ("attn", "ffn")}
        block |= {f"attn_{part}.weight": (_HALF, square) for part in ("q", "k", "v", "output")}
        block |= {"ffn_gate.weight": (_HALF, wide), "ffn_up.weight": (_HALF, wide), "ffn_down.weight": (_HALF, back)}
        tensors |= {f"blk.{layer}.{name}": tensor for name, tensor in block.items()}
    last: Tensors = {"output.weight": (_HALF, (HIDDEN, len(names)))}
    paths = []
    for number, part in enumerate((tensors, last)):
        counts = {
            "split.no": (_U16, number),
            "split.count": (_U16, 2),
            "split.tensors.count": (_I32, len(tensors) + len(last)),
        }
        paths.append(write_gguf(folder / f"part-{number}.gguf", (facts if not number else {}) | counts, part))
    return paths


def follow(line: str) -> str:
    program, *arguments = shlex.split(line)
    assert program == "deepseek-tui"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tui", *arguments], capture_output=True, text=True, timeout=300, env=os.environ,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_the_page_leads_from_a_download_to_an_answer_and_by_a_mix_to_another(hub: FakeHub) -> None:
    plan, pull, ask, dry_run, fetch, quantize, ask_again = commands()
    assert re.search(r"32b-mixed-ssd .*\d+/64", follow(plan))
    follow(pull)
    assert re.search(r"[a-z]{2}", follow(ask))
    entry = find(load_catalog(), "32b-mixed-ssd")
    assert entry.preset.build is not None
    made = built_file(entry.preset.model.family, entry.preset.build.recipe)
    assert re.search(r"size +\d.*bits a weight.*\n(.*\n)*.*TOKENS/S", follow(dry_run))
    assert not made.exists()
    follow(fetch)
    assert "is made" in follow(quantize)
    assert made.exists()
    assert str(made) in follow("deepseek-tui presets show 32b-mixed-ssd")
    follow(ask_again)  # the weights are 0, and so are the words
