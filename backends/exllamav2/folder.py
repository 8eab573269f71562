"""What a model folder holds, read before the engine sees it: a folder that is not whole is told of in plain words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from backends.errors import BadModelFile, ModelNotFound

T = TypeVar("T")

_JSON_LIMIT = 16 * 1024 * 1024
_TOKENIZER_LIMIT = 256 * 1024 * 1024
_HEADER_LIMIT = 100_000_000  # what the safetensors library takes at most
_PART = re.compile(r"-(\d{5,6})-of-(\d{5,6})\.safetensors$")
_MOST_PARTS = 999
_FETCH_AGAIN = "Fetch the folder again; what is there already stays."
_ELSEWHERE = {
    "exl3": "EXL3 is the format of ExLlamaV3: serve it with TabbyAPI, and use the backend `openai`.",
    "awq": "Use an EXL2 or GPTQ folder of this model, or serve this one with vLLM, and use the backend `openai`.",
}


class ModelFolder(msgspec.Struct, frozen=True):
    """A model folder. `kind` is its format for the reader; `ends` are the tokens that end an answer.

    `template` is "" where there is none. `names` are those of the tokens that a publisher added, and whether each is
    a control token.
    """

    path: Path
    kind: str
    layers: int
    trained_context: int | None
    weight_bytes: int
    ends: tuple[int, ...]
    template: str
    names: dict[str, bool]


class _Config(msgspec.Struct):
    architectures: list[str] = []
    num_hidden_layers: int = 0
    max_position_embeddings: int | None = None
    eos_token_id: int | list[int] | None = None
    quantization_config: dict[str, Any] | None = None


class _Generation(msgspec.Struct):
    eos_token_id: int | list[int] | None = None


class _NamedTemplate(msgspec.Struct):
    name: str
    template: str


class _TokenizerConfig(msgspec.Struct):
    chat_template: str | list[_NamedTemplate] | None = None


class _AddedToken(msgspec.Struct):
    content: str
    special: bool = False


class _Tokenizer(msgspec.Struct):
    added_tokens: list[_AddedToken] = []


class _Index(msgspec.Struct):
    weight_map: dict[str, str] = {}


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int] = (0, 0)


def read_folder(path: Path) -> ModelFolder:
    """Look at a model folder. Raises ModelNotFound, BadModelFile."""
    if not path.exists():
        hint = "Mend the source in the preset, or fetch or build the folder."
        raise ModelNotFound("The model folder is not there", str(path), hint)
    if not path.is_dir():
        what = "a GGUF file" if path.suffix.lower() == ".gguf" else "a file"
        hint = "Name the folder with config.json and the .safetensors files; GGUF files are for llama.cpp."
        raise BadModelFile(f"The model is {what}, not a folder", str(path), hint)
    config = _json(path / "config.json", _Config)
    if not config.architectures or config.num_hidden_layers <= 0:
        hint = "Name the folder of a language model."
        raise BadModelFile("This is not a language model", f"{path / 'config.json'} describes none.", hint)
    kind = _kind(path, config.quantization_config)
    weight_bytes = _check_tensors(path)
    tokenizer = _json(path / "tokenizer.json", _Tokenizer, _TOKENIZER_LIMIT)
    generation = _optional(path / "generation_config.json", _Generation) or _Generation()
    ends = dict.fromkeys([*_ids(config.eos_token_id), *_ids(generation.eos_token_id)])
    trained = config.max_position_embeddings
    return ModelFolder(
        path=path,
        kind=kind,
        layers=config.num_hidden_layers,
        trained_context=trained if trained and trained > 0 else None,
        weight_bytes=weight_bytes,
        ends=tuple(ends),
        template=_template(path),
        names={token.content: token.special for token in tokenizer.added_tokens if token.content},
    )


def _kind(path: Path, quantization: dict[str, Any] | None) -> str:
    """Return the format for the reader. Raises BadModelFile for one that ExLlamaV2 cannot read."""
    if quantization is None:
        return "FP16"
    method = str(quantization.get("quant_method", "")).lower()
    bits = quantization.get("bits")
    shown = f" {bits:g} bits" if isinstance(bits, int | float) and not isinstance(bits, bool) else ""
    if method in {"exl2", "gptq"}:
        return f"{method.upper()}{shown}"
    hint = _ELSEWHERE.get(method, "It reads EXL2, GPTQ and FP16 folders.")
    name = method[:40] if method.isprintable() and method else "of an unknown kind"
    raise BadModelFile("ExLlamaV2 cannot read this quantization", f"{path} is {name}.", hint)


def _check_tensors(path: Path) -> int:
    """See that every part is there and whole; return the bytes of all. Raises BadModelFile."""
    files = {file.name: file for file in sorted(path.glob("*.safetensors"))}
    if not files:
        hint = "Name a folder in EXL2, GPTQ or FP16 format; .bin and .pt files are not read."
        raise BadModelFile("The folder has no .safetensors files", str(path), hint)
    index = _optional(path / "model.safetensors.index.json", _Index)
    wanted = set(index.weight_map.values()) if index is not None else set()
    if not wanted & files.keys():
        wanted = set()  # a quantized folder may keep the index of the original, which has other files
    for name in files:
        part = _PART.search(name)
        if part:
            stem, width = name[: part.start()], len(part[1])
            numbers = range(1, min(int(part[2]), _MOST_PARTS) + 1)
            wanted |= {f"{stem}-{number:0{width}}-of-{part[2]}.safetensors" for number in numbers}
    missing = sorted(wanted - files.keys())
    if missing:
        detail = f"{path}: {len(missing)} of {len(wanted)} parts are missing, the first is {missing[0]}."
        raise BadModelFile("The model folder is incomplete", detail, _FETCH_AGAIN)
    return sum(map(_check_whole, files.values()))


def _check_whole(file: Path) -> int:
    """Return the size of a safetensors file after a look whether all of it is there. Raises BadModelFile."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(8)
            length = int.from_bytes(start, "little")
            head = opened.read(length) if len(start) == 8 and length <= min(size, _HEADER_LIMIT) else b""
    except OSError as error:
        hint = "Look at the permissions of the file and its folder."
        raise BadModelFile("A part of the model cannot be read", f"{file}: {error.strerror}", hint) from error
    if start.startswith(b"version "):
        hint = "Fetch the file itself, with git lfs pull for example."
        raise BadModelFile("This is no model", f"{file} is a Git LFS pointer: the name of the file.", hint)
    try:
        tensors = msgspec.json.decode(head, type=dict[str, msgspec.Raw])
        ends = [_end(raw) for name, raw in tensors.items() if name != "__metadata__"]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadModelFile(
            "A part of the model is damaged", f"{file} has no readable beginning.", _FETCH_AGAIN
        ) from error
    wanted = 8 + length + max(ends, default=0)
    if size < wanted:
        detail = f"{file} has {size:,} of {wanted:,} bytes."
        raise BadModelFile("A part of the model is incomplete", detail, _FETCH_AGAIN)
    return size


def _end(raw: msgspec.Raw) -> int:
    return msgspec.json.decode(raw, type=_Tensor).data_offsets[1]


def _template(path: Path) -> str:
    """Return the folder's chat template, from either place where publishers put it."""
    own = path / "chat_template.jinja"
    if own.exists():
        return _read(own, _JSON_LIMIT).decode("utf-8", "replace")
    config = _optional(path / "tokenizer_config.json", _TokenizerConfig)
    found = config.chat_template if config is not None else None
    if isinstance(found, list):
        named = {one.name: one.template for one in found}
        return named.get("default") or next(iter(named.values()), "")
    return found or ""


def _ids(value: int | Sequence[int] | None) -> Sequence[int]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else value


def _optional(file: Path, kind: type[T]) -> T | None:
    return _json(file, kind) if file.exists() else None


def _json(file: Path, kind: type[T], limit: int = _JSON_LIMIT) -> T:
    """Return what a JSON file says. Raises BadModelFile."""
    data = _read(file, limit)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadModelFile("A file of the model folder is damaged", f"{file}: {error}"[:500], _FETCH_AGAIN) from error


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(limit + 1)
    except FileNotFoundError as error:
        detail = f"{file} is not there."
        raise BadModelFile("The model folder is incomplete", detail, _FETCH_AGAIN) from error
    except OSError as error:
        hint = "Look at the permissions of the file and its folder."
        raise BadModelFile("A file of the model folder cannot be read", f"{file}: {error.strerror}", hint) from error
    if len(data) > limit:
        hint = "Use another copy of this model."
        raise BadModelFile("A file of the model folder is too large", f"{file} has more than {limit:,} bytes.", hint)
    return data
