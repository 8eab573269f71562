"""The door to the engine's library: imported here, once, and nowhere at import time."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from backends.errors import NotInstalled
from backends.llama_cpp.logs import LogTail
from backends.shown import printable

CUDA_WHEELS = "https://abetlen.github.io/llama-cpp-python/whl/cu124"
GPU_BUILD_HINT = (
    "`make run` puts the GPU build in place, or: pip install --force-reinstall --no-deps "
    f"--extra-index-url {CUDA_WHEELS} llama-cpp-python"
)

BLIND = "This machine has an NVIDIA driver, but this build of llama.cpp uses only the CPU."
"""What a plain install beside a card is, told wherever it matters."""

INSTALL_HINT = "Install it: pip install llama-cpp-python (from source it takes some minutes)."

log = LogTail()

# ggml_backend_dev_type in ggml-backend.h.
_GPU_DEVICE = 1


class GpuDevice(msgspec.Struct, frozen=True):
    """A GPU that the engine can use. `name` is the engine's word in its log; `handle` 0 is none that exists."""

    description: str
    free_bytes: int
    total_bytes: int
    name: str = ""
    handle: int = 0


class _Loaded:
    """What must stay alive as long as the library does. `looked` says that it has asked the cards for their memory."""

    library: Any = None
    callback: Any = None
    looked = False


def library() -> Any:
    """Return the binding's low-level module, ready for use. Raises NotInstalled if it cannot be imported."""
    if _Loaded.library is None:
        # On an abort the library would fork a debugger and hang.
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")
        try:
            module = _low_level()
        except Exception as error:  # a broken build raises whatever its loader does
            raise NotInstalled(
                "llama.cpp is not installed",
                f"llama-cpp-python cannot be imported: {error}",
                INSTALL_HINT,
            ) from error
        _Loaded.callback = module.llama_log_callback(_log_line)
        module.llama_log_set(_Loaded.callback, None)
        module.llama_backend_init()
        _Loaded.library = module
    return _Loaded.library


def version() -> str:
    """Return the version of the binding, "" if it was not installed as a package."""
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        return ""


def gpus() -> tuple[GpuDevice, ...]:
    """Return the GPUs and their memory at this moment; those that share main memory do not count.

    From the first call on, each has a context of the engine, which takes some of its memory.
    """
    try:
        found = tuple(_with_memory(device) for device in _gpu_handles())
    except (OSError, AttributeError):
        return ()
    _Loaded.looked = bool(found)
    return found


def gpu_descriptions() -> tuple[str, ...]:
    """Return what the GPUs are called, without touching them."""
    try:
        return tuple(_description(device) for device in _gpu_handles())
    except (OSError, AttributeError):
        return ()


def looked_at_gpus() -> bool:
    """Say whether the engine's contexts are on the GPUs already."""
    return _Loaded.looked


def memory_now(gpu: GpuDevice) -> GpuDevice:
    """Return the GPU with its memory at this moment."""
    return _with_memory(gpu.handle) if gpu.handle else gpu


def cpu_buffers() -> int | None:
    """Return the engine's handle of main memory as a place for weights, None for a build that does not tell."""
    try:
        kind = _ggml("ggml-base").ggml_backend_cpu_buffer_type
    except (OSError, AttributeError):
        return None
    kind.restype, kind.argtypes = ctypes.c_void_p, []
    return int(kind())


def node_name() -> Callable[[int], bytes]:
    """Return the function that names a node of the engine's graph, by its address.

    It keeps the interpreter's lock, which costs more to give up and take again than the call does. Raises OSError or
    AttributeError for a build that does not have it.
    """
    name = _ggml("ggml-base", ctypes.PyDLL).ggml_get_name
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return cast("Callable[[int], bytes]", name)


def blind() -> bool:
    """Say whether this build leaves an NVIDIA card idle."""
    return not library().llama_supports_gpu_offload() and nvidia_driver_present()


def nvidia_driver_present() -> bool:
    """Say whether this machine has an NVIDIA driver, whatever the engine can do with it."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def library_folder() -> Path:
    """Return the folder of the engine's libraries."""
    folder = os.environ.get("LLAMA_CPP_LIB_PATH")
    return Path(folder) if folder else Path(str(library().__file__)).parent / "lib"


def _low_level() -> Any:
    """Import the low-level module without its package's `__init__`.

    That brings NumPy and the high-level API, which nobody here needs: 13 MiB of memory and a tenth of a second.
    """
    name = "llama_cpp"
    if name in sys.modules:
        return importlib.import_module(f"{name}.{name}")
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    # Never executed: it only says where the submodules are.
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{name}.{name}")
    except BaseException:
        del sys.modules[name]
        raise


def high_level() -> Any:
    """Return the binding's package with its high-level API, for who compares with it. Its log callback takes over."""
    library()
    package = sys.modules["llama_cpp"]
    loader = package.__spec__.loader if package.__spec__ is not None else None
    if not hasattr(package, "Llama") and loader is not None:
        loader.exec_module(package)
    return package


def _gpu_handles() -> list[int]:
    """Return the engine's handles of the GPUs. Raises OSError or AttributeError for a build that cannot be asked."""
    if not library().llama_supports_gpu_offload():
        return []
    registry, base = _ggml("ggml"), _ggml("ggml-base")
    registry.ggml_backend_dev_count.restype = ctypes.c_size_t
    registry.ggml_backend_dev_get.restype = ctypes.c_void_p
    registry.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    devices = [registry.ggml_backend_dev_get(index) for index in range(registry.ggml_backend_dev_count())]
    return [device for device in devices if base.ggml_backend_dev_type(device) == _GPU_DEVICE]


def _description(device: int) -> str:
    describe = _ggml("ggml-base").ggml_backend_dev_description
    describe.restype, describe.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return printable((describe(device) or b"").decode("utf-8", "replace"))


def _with_memory(device: int) -> GpuDevice:
    base = _ggml("ggml-base")
    size_pointer = ctypes.POINTER(ctypes.c_size_t)
    base.ggml_backend_dev_memory.restype = None
    base.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size_pointer, size_pointer]
    base.ggml_backend_dev_name.restype = ctypes.c_char_p
    base.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    base.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    name = (base.ggml_backend_dev_name(device) or b"").decode("utf-8", "replace")
    return GpuDevice(_description(device), free.value, total.value, name, device)


def ggml_base() -> Any:
    """Return the engine's library of tensors, of which the binding has nothing. Raises OSError where it is not."""
    library()
    return _ggml("ggml-base")


def _ggml(name: str, kind: type[ctypes.CDLL] = ctypes.CDLL) -> Any:
    """Open a ggml library that the binding has loaded already."""
    lib = library_folder()
    for suffix in (".so", ".dylib"):
        path = lib / f"lib{name}{suffix}"
        if path.exists():
            return kind(str(path))
    raise OSError(f"lib{name} is not in {lib}")


def _log_line(level: int, text: bytes | None, _data: object) -> None:
    log.write(level, text or b"")
