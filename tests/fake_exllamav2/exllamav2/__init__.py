"""The package: configuration, model, caches, tokenizer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from exllamav2.world import world

_WORD = re.compile(r"\s*[!-~]+|\s+|[^\s!-~]")
_MODULES_PER_LAYER = 2


class ExLlamaV2Config:
    def __init__(self, model_dir: str | None = None) -> None:
        self.max_batch_size = 1
        self.max_input_len = 2048
        self.max_attention_size = 2048**2
        self.max_output_len = None
        self.no_flash_attn = False
        assert model_dir is not None
        self.model_dir = model_dir
        folder = Path(model_dir)
        read = json.loads((folder / "config.json").read_text())
        files = list(folder.glob("*.safetensors"))
        if not files:
            raise ValueError(f" ## No .safetensors files found in {model_dir}")
        self.num_hidden_layers = read["num_hidden_layers"]
        self.max_seq_len = read["max_position_embeddings"]
        eos = read.get("eos_token_id")
        self.eos_token_id = eos[0] if isinstance(eos, list) else eos
        if read.get("a_tensor_is_missing"):
            raise ValueError(" ## Could not find model.layers.1.self_attn.q_proj.* in model")
        self.weight_bytes = sum(file.stat().st_size for file in files)
        world.configs.append(self)

    def arch_compat_overrides(self, quiet: bool = False, warn_only: bool = False) -> None:
        assert quiet, "it would print over the host's log"


class ExLlamaV2:
    def __init__(self, config: ExLlamaV2Config, lazy_load: bool = False) -> None:
        self.config = config
        self.held = 0

    def load_autosplit(
        self,
        cache: ExLlamaV2Cache,
        reserve_vram: int | list[int] | None = None,
        last_id_only: bool = False,
        callback: Callable[[int, int], None] | None = None,
        callback_gen: Any = None,
        progress: bool = False,
    ) -> None:
        assert cache.lazy, "load_autosplit wants a lazy cache"
        assert isinstance(reserve_vram, int)
        total = self.config.num_hidden_layers * _MODULES_PER_LAYER + 3
        share, cached = self.config.weight_bytes // total, cache.bytes // total
        for module in range(total):
            if callback is not None:
                callback(module, total)
            time.sleep(world.module_s)
            if world.used - world.idle + share + cached + reserve_vram > world.vram * world.cards:
                raise RuntimeError("Insufficient VRAM for model and cache")
            world.used += share + cached
            self.held += share
            cache.held += cached
        if callback is not None:
            callback(total, total)

    def unload(self) -> None:
        world.idle += self.held
        self.held = 0


class ExLlamaV2Cache:
    bits = 16.0

    def __init__(
        self, model: ExLlamaV2, batch_size: int = 1, max_seq_len: int = -1, copy_from: Any = None, lazy: bool = False
    ) -> None:
        assert max_seq_len % 256 == 0
        self.lazy = lazy
        self.batch_size = batch_size
        self.max_seq_len = max_seq_len
        self.held = 0
        self.bytes = int(model.config.num_hidden_layers * 2048 * max_seq_len * self.bits / 8)

    def __del__(self) -> None:
        world.idle += self.held


class ExLlamaV2Cache_Q8(ExLlamaV2Cache):  # noqa: N801 - its own name
    bits = 8.5


class ExLlamaV2Cache_Q6(ExLlamaV2Cache):  # noqa: N801 - its own name
    bits = 6.5


class ExLlamaV2Cache_Q4(ExLlamaV2Cache):  # noqa: N801 - its own name
    bits = 4.5


class ExLlamaV2Tokenizer:
    """A token is a word with the space before it, or one byte of anything that is not ASCII.

    As in the library beneath the true one, the names of added tokens are always read as these tokens.
    """

    def __init__(
        self, config: ExLlamaV2Config, lazy_init: bool = True, force_json: bool = False, force_spm: bool = False
    ) -> None:
        folder = Path(config.model_dir)
        added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
        self._added = {token["content"]: token["id"] for token in added}
        self._control = {token["id"] for token in added if token["special"]}
        self._pieces: dict[int, str] = {number: name for name, number in self._added.items()}
        self._ids: dict[str, int] = {}
        self._split = re.compile("(" + "|".join(map(re.escape, self._added)) + ")")
        self.eos_token_id = config.eos_token_id
        self.eos_token = self._pieces.get(self.eos_token_id, "")
        said = json.loads((folder / "tokenizer_config.json").read_text())
        self.bos_token = said.get("bos_token")

    def encode(
        self,
        text: str,
        add_bos: bool = False,
        add_eos: bool = False,
        encode_special_tokens: bool = False,
        return_offsets: bool = False,
        embeddings: Any = None,
    ) -> torch.Tensor:
        text.encode()  # the true one refuses half a UTF-16 pair too
        return torch.Tensor([[number for part in self._split.split(text) for number in self._part(part)]])

    def _part(self, part: str) -> list[int]:
        if part in self._added:
            return [self._added[part]]
        ids: list[int] = []
        for piece in _WORD.findall(part):
            if piece.isascii():
                number = self._ids.setdefault(piece, 1000 + len(self._ids))
                self._pieces[number] = piece
                ids.append(number)
            else:
                ids += [100_000 + byte for byte in piece.encode()]
        return ids

    def decode(self, ids: torch.Tensor, decode_special_tokens: bool = False) -> list[str]:
        return [self.text(row, decode_special_tokens) for row in ids.tolist()]

    def text(self, ids: list[int], special: bool) -> str:
        shown = b""
        for number in ids:
            if number >= 100_000:
                shown += bytes([number - 100_000])
            elif special or number not in self._control:
                shown += self._pieces[number].encode()
        return shown.decode(errors="replace")

    def piece(self, number: int, special: bool) -> str:
        return self.text([number], special)
