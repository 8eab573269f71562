"""A model file in memory: checked, loaded with progress, stoppable, and every failure with its reason."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Cancel, Cancelled
from backends.errors import BackendError, BadModelFile, ModelNotFound, OutOfMemory
from backends.events import LoadProgress, LoadStage
from backends.gguf.shape import Shape
from backends.llama_cpp.binding import GpuDevice, cpu_buffers, log
from backends.llama_cpp.options import LlamaCppOptions
from backends.llama_cpp.shortage import find_shortage

_MAGIC = b"GGUF"
_REPORT_EVERY_S = 0.05
_FETCH_AGAIN = "Fetch the file again and compare its size with the publisher's."


class Held(msgspec.Struct, frozen=True):
    """Matrices of one block, counted from the model's beginning, that stay in main memory though it is on a card.

    They are named as in `gguf.shape.FEED_FORWARD`.
    """

    block: int
    names: tuple[str, ...]


NONE_HELD = Held(0, ())


def check_file(path: Path) -> None:
    """See that `path` may be a GGUF file before the engine does.

    Raises ModelNotFound if there is no file and BadModelFile if it cannot be read or is something else.
    """
    if not path.exists():
        hint = "Mend the source in the preset, or fetch the file."
        raise ModelNotFound("The model file is not there", str(path), hint)
    if path.is_dir():
        raise BadModelFile("The model is a folder, not a file", str(path), "Name the .gguf file in it.")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        hint = "Look at the permissions of the file and its folder."
        raise BadModelFile("The model file cannot be read", f"{path}: {error.strerror}", hint) from error
    if head.startswith(_MAGIC):
        return
    detail = f"{path} does not begin with the letters GGUF."
    hint = "Name a .gguf file in the preset."
    if not head:
        detail, hint = f"{path} is empty.", _FETCH_AGAIN
    elif head.startswith(b"version https://git-lfs"):
        detail = f"{path} is a Git LFS pointer: the name of the file, not the file."
        hint = "Fetch the file itself, with git lfs pull for example."
    elif head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        detail, hint = f"{path} is a web page, probably an error message that was saved as the model.", _FETCH_AGAIN
    raise BadModelFile("This is not a GGUF model", detail, hint)


def load_model(
    lib: Any,
    path: Path,
    options: LlamaCppOptions,
    gpu_layers: int,
    report: Callable[[LoadProgress], None],
    cancel: Cancel,
    gpu: GpuDevice | None = None,
    *,
    repack: bool = True,
    held: Held = NONE_HELD,
) -> int:
    """Load the file and return the engine's handle of the model; `gpu_layers` counts as the engine does.

    No other card than `gpu` has a part in it. `repack` lets the engine copy weights into an order that its CPU kernels
    like better: faster, but no longer mapped from the file. What is `held` stays off the card.

    Raises Cancelled, OutOfMemory, BadModelFile, or whatever `report` raises.
    """
    stage: LoadStage = "offloading" if gpu_layers else "reading"
    raised: list[BaseException] = []
    last_report = 0.0

    def progress(fraction: float, _data: object) -> bool:
        nonlocal last_report
        now = time.monotonic()
        if now - last_report >= _REPORT_EVERY_S or fraction >= 1:
            last_report = now
            try:
                report(LoadProgress(stage, min(1.0, fraction)))
            except BaseException as error:  # noqa: BLE001 - nothing may unwind through the engine's C++
                raised.append(error)
        return not raised and not cancel.is_set()

    params = lib.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    params.load_mode = _load_mode(lib, options)
    params.use_extra_bufts = repack
    devices, overrides = use_card(lib, params, gpu), hold_back(params, held)
    # Keep the callback in a variable: the engine only borrows it.
    callback = lib.llama_progress_callback(progress)
    params.progress_callback = callback
    if cancel.is_set():
        raise Cancelled
    log.clear()
    model = lib.llama_model_load_from_file(path_bytes(path), params)
    del devices, overrides
    if model is not None and not raised and not cancel.is_set():
        return int(model)
    if model is not None:
        lib.llama_model_free(model)
    if raised:
        raise raised[0]
    if cancel.is_set():
        raise Cancelled
    raise load_error(path)


def use_card(lib: Any, params: Any, gpu: GpuDevice | None) -> object:
    """Let `params` of a model name this card alone, or none at all. The result has to live until the model is loaded.

    A card that is there counts even if no layer goes to it: the engine runs long prompts on it.
    """
    # The list of devices that the engine knows ends with a null; `main_gpu` would count in an order of its own.
    devices = (ctypes.c_void_p * 2)(gpu.handle or None if gpu is not None else None)
    params.devices = ctypes.addressof(devices)
    params.split_mode = lib.LLAMA_SPLIT_MODE_NONE
    params.main_gpu = 0 if devices[0] else -1
    return devices


def hold_back(params: Any, held: Held) -> object:
    """Let `params` of a model keep these matrices in main memory. The result has to live until the model is loaded."""
    place = cpu_buffers() if held.names else None
    if place is None:
        return None
    pattern = ctypes.c_char_p(rf"^blk\.{held.block}\.({'|'.join(held.names)})\.weight$".encode())
    # llama_model_tensor_buft_override, a pattern and a place, and as many nulls for the end of the list.
    overrides = (ctypes.c_void_p * 4)(ctypes.cast(pattern, ctypes.c_void_p), place)
    params.tensor_buft_overrides = ctypes.addressof(overrides)
    return overrides, pattern


def path_bytes(path: Path) -> bytes:
    """Return a path as the engine takes it."""
    return str(path).encode("utf-8", "surrogateescape")


@contextmanager
def without_weights(
    lib: Any, path: Path, gpu: GpuDevice | None, gpu_layers: int, shape: Shape | None = None, held: Held = NONE_HELD
) -> Iterator[int]:
    """Give the engine's handle of a model of which only the header was read. Raises as a failed load does.

    With its `shape` the vocabulary is left out too, most of the time: 60 instead of 250 ms for 150,000 tokens.
    """
    params = lib.llama_model_default_params()
    params.no_alloc = True
    params.load_mode = lib.LLAMA_LOAD_MODE_NONE  # The engine aborts with any other.
    params.n_gpu_layers = gpu_layers
    devices, overrides = use_card(lib, params, gpu), hold_back(params, held)
    instead = _dummy_vocabulary(lib, shape) if shape is not None else None
    if instead is not None:
        params.kv_overrides = instead
    log.clear()
    model = lib.llama_model_load_from_file(path_bytes(path), params)
    del devices, overrides, instead
    if model is None:
        raise load_error(path)
    try:
        yield model
    finally:
        lib.llama_model_free(model)


def _dummy_vocabulary(lib: Any, shape: Shape) -> Any:
    """Return what tells the engine that the file has so many tokens, and not which."""
    kind, count = lib.llama_model_kv_override(), lib.llama_model_kv_override()
    kind.tag, kind.key, kind.value.val_str = lib.LLAMA_KV_OVERRIDE_TYPE_STR, b"tokenizer.ggml.model", b"none"
    count.tag, count.value.val_i64 = lib.LLAMA_KV_OVERRIDE_TYPE_INT, shape.vocabulary
    count.key = f"{shape.architecture}.vocab_size".encode()[:127]
    # The list ends with an empty key.
    return (lib.llama_model_kv_override * 3)(kind, count)


def load_error(path: Path) -> BackendError:
    """Return the typed error for a failed load, from the engine's log."""
    cause, line = log.cause()
    detail = f"{path}: {line}" if line else str(path)
    match cause:
        case "memory":
            return logged_out_of_memory()
        case "architecture":
            hint = "Update llama-cpp-python, or choose another model."
            return BadModelFile("This build of llama.cpp does not know this kind of model", detail, hint)
        case "file":
            return BadModelFile("The model file is damaged or incomplete", detail, _FETCH_AGAIN)
        case _:
            return BadModelFile("The model file cannot be loaded", detail, _FETCH_AGAIN)


class HostOutOfMemory(OutOfMemory):
    """Main memory is too small: fewer layers on the GPU would make it worse."""


def out_of_memory(detail: str, *, on_gpu: bool = True) -> OutOfMemory:
    """Return the error for a shortage on the GPU or, as HostOutOfMemory, of main memory."""
    kind, fewer = (OutOfMemory, "fewer gpu_layers") if on_gpu else (HostOutOfMemory, "more gpu_layers")
    return kind(
        "There is too little memory for this model",
        detail,
        f'Choose a smaller context, kv_cache = "q8_0", {fewer} or a smaller quantization.',
    )


def logged_out_of_memory() -> OutOfMemory:
    """Return the error for a failure whose cause in the engine's log is memory: which buffer, and how much."""
    shortage = find_shortage(log.errors())
    return out_of_memory(f"{shortage.sentence()} llama.cpp says: {log.cause()[1]}", on_gpu=shortage.on_gpu)


def metadata(lib: Any, model: int, key: str) -> str:
    """Return a value of the model's metadata as text, empty if it is not there. Long values are cut."""
    buffer = ctypes.create_string_buffer(1024)
    length = lib.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if length >= 0 else ""


def own_template(lib: Any, model: int) -> str:
    """Return the chat template in the model file, empty if it has none."""
    source = lib.llama_model_chat_template(model, None)
    return source.decode("utf-8", "replace") if source else ""


def _load_mode(lib: Any, options: LlamaCppOptions) -> int:
    modes = {
        (False, False): lib.LLAMA_LOAD_MODE_NONE,
        (True, False): lib.LLAMA_LOAD_MODE_MMAP,
        (False, True): lib.LLAMA_LOAD_MODE_MLOCK,
        (True, True): lib.LLAMA_LOAD_MODE_MMAP_MLOCK,
    }
    return int(modes[options.mmap, options.mlock])
