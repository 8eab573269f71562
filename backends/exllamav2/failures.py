"""What ExLlamaV2, PyTorch and CUDA raise, as errors that a person can act on."""

from __future__ import annotations

import re

from backends.errors import BackendError, BadModelFile, EngineDied, OutOfMemory

_MEMORY = re.compile(
    r"out of memory|Insufficient VRAM|Insufficient space in device allocation|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE
)
_DEAD = re.compile(r"CUDA error|HIP error|device-side assert|illegal memory access|CUBLAS_STATUS|CUDNN_STATUS")
_FILE = re.compile(
    r"## (Could not find|No \.safetensors)|safetensors|Value for .* is not of expected type|Missing any of"
)
_SHOWN = 600


def load_failure(error: BaseException, folder: str) -> BackendError:
    """Return the error for a load that failed."""
    said = _said(error)
    if _is_memory(error):
        return out_of_memory(said)
    if _DEAD.search(said):
        return _dead(said)
    if _FILE.search(said):
        hint = "Fetch the folder again and compare its files with the publisher's."
        return BadModelFile("The model folder is damaged or incomplete", f"{folder}: {said}", hint)
    hint = "Use another copy of this model; the host's log has more."
    return BadModelFile("ExLlamaV2 cannot load this model", f"{folder}: {said}", hint)


def answer_failure(error: BaseException) -> BackendError:
    """Return the error for an answer that failed. After EngineDied nothing more can be asked of this process."""
    said = _said(error)
    if _is_memory(error):
        return out_of_memory(said)
    if _DEAD.search(said):
        return _dead(said)
    return BackendError("ExLlamaV2 failed", said, "Ask again; if it happens again, the host's log says more.")


def out_of_memory(said: str) -> OutOfMemory:
    return OutOfMemory(
        "The card has too little free memory for this model",
        said,
        'Choose a smaller context, kv_cache = "q4" or a folder of fewer bits, or close what else uses the card. '
        "ExLlamaV2 keeps nothing in main memory; llama.cpp can.",
    )


def _dead(said: str) -> EngineDied:
    return EngineDied("The card gave up", said, "Ask again: the model is loaded anew.")


def _is_memory(error: BaseException) -> bool:
    # PyTorch's class is not imported here: its name is all that is needed.
    return type(error).__name__ == "OutOfMemoryError" or _MEMORY.search(str(error)) is not None


def _said(error: BaseException) -> str:
    """Return what an error says in one bounded line. PyTorch adds pages of advice behind the first sentences."""
    line = " ".join(f"{error}".split()) or type(error).__name__
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
