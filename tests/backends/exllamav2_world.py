"""The stand-in for exllamav2 on the module path, and model folders for it."""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FAKE = Path(__file__).resolve().parents[1] / "fake_exllamav2"
TEMPLATES = Path(__file__).parent / "templates"
_MODULES = ("exllamav2", "torch", "tokenizers", "exllamav2_ext")
ADDED = (
    ("<｜begin▁of▁sentence｜>", True), ("<｜end▁of▁sentence｜>", True),
    ("<｜User｜>", False), ("<｜Assistant｜>", False),
    ("<think>", False), ("</think>", False), ("<|im_end|>", True),
)  # fmt: skip
END = 1


@contextmanager
def stand_in() -> Iterator[Any]:
    """Put the stand-in before everything else, for child processes too; give its world."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in _MODULES]:
            del sys.modules[name]

    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FAKE))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(FAKE), os.environ.get("PYTHONPATH", "")])))
        try:
            yield importlib.import_module("exllamav2.world").world
        finally:
            forget()


def write_tensors(path: Path, size: int = 4096) -> None:
    """Write a whole safetensors file with one tensor."""
    head = json.dumps({"t": {"dtype": "I8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        file.truncate(8 + len(head) + size)


def write_folder(
    folder: Path,
    *,
    template: str | None = "r1-distill-first",
    quantization: dict[str, Any] | None = None,
    size: int = 64 * 1024**2,
    added: tuple[tuple[str, bool], ...] = ADDED,
    **config: Any,
) -> Path:
    """Write a model folder as a publisher would. `template` names a file in `templates`, None leaves it out."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "architectures": ["Qwen2ForCausalLM"],
        "num_hidden_layers": 4,
        "max_position_embeddings": 131072,
        "eos_token_id": END,
        "quantization_config": quantization or {"quant_method": "exl2", "bits": 3.5},
    } | config
    (folder / "config.json").write_text(json.dumps(said))
    tokens = [{"id": number, "content": name, "special": special} for number, (name, special) in enumerate(added)]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens, "model": {"type": "BPE"}}))
    tokenizer: dict[str, Any] = {"bos_token": added[0][0], "eos_token": added[1][0]}
    if template is not None:
        tokenizer["chat_template"] = (TEMPLATES / f"{template}.jinja").read_text()
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    write_tensors(folder / "output.safetensors", size)
    return folder
