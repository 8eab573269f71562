"""The one place where ExLlamaV2 and PyTorch are imported, and where it is found out whether they can be."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from backends.errors import NotInstalled
from backends.packages import install_command

INSTALL = install_command("exllamav2>=0.3.2,<0.4", "tokenizers>=0.20")  # the extra `exllamav2` in pyproject.toml
_TORCH = "Install PyTorch with CUDA: https://pytorch.org/get-started/locally/"
_COMPILERS = ("c++", "g++", "clang++")
_EXTENSION = "exllamav2_ext"
_COMPILES = "ExLlamaV2 compiles its kernels at its first start, and there is"


class Trouble(NamedTuple):
    """Why it cannot run here, and what to do. `detail` is "" where nothing is known to be in the way."""

    detail: str = ""
    hint: str = ""


class Libraries(NamedTuple):
    """The imported modules: the package, its generators, and PyTorch."""

    package: Any
    generator: Any
    torch: Any


def find_trouble() -> Trouble:
    """Look for what ExLlamaV2 needs, without importing it: its first import compiles for minutes. Imports PyTorch."""
    _find_own_programs()
    for package, hint in (("exllamav2", INSTALL), ("torch", _TORCH), ("tokenizers", INSTALL)):
        if importlib.util.find_spec(package) is None:
            return Trouble(f"The package {package} is not installed.", hint)
    torch = importlib.import_module("torch")
    if not (torch.version.cuda or torch.version.hip):
        return Trouble(f"PyTorch {torch.__version__} was built without CUDA.", _TORCH)
    if not torch.cuda.is_available():
        return Trouble("PyTorch finds no card.", "`nvidia-smi` shows whether the driver does; ExLlamaV2 needs one.")
    if must_compile():
        return _compiling_trouble()
    return Trouble()


def must_compile() -> bool:
    """Say whether the next import has to compile the kernels first."""
    if importlib.util.find_spec(_EXTENSION) is not None:
        return False
    utilities = importlib.import_module("torch.utils.cpp_extension")
    with contextlib.suppress(Exception):  # a private function: without it we only do not know
        folder = Path(utilities._get_build_directory(_EXTENSION, False))  # noqa: SLF001
        return not any(folder.glob(f"{_EXTENSION}*.so"))
    return True


def versions() -> str:
    """Name what is installed: the engine, PyTorch and its CUDA."""
    torch = importlib.import_module("torch")
    platform = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    try:
        own = version("exllamav2")
    except PackageNotFoundError:
        own = ""
    return f"{own} · PyTorch {torch.__version__} · {platform}".removeprefix(" · ")


def libraries() -> Libraries:
    """Import the engine; the first time this compiles its kernels. Raises NotInstalled."""
    _find_own_programs()
    try:
        return Libraries(*map(importlib.import_module, ("exllamav2", "exllamav2.generator", "torch")))
    except (Exception, SystemExit) as error:  # without CUDA it raises OSError, and its compiler whatever it likes
        trouble = Trouble()
        with contextlib.suppress(Exception):
            trouble = find_trouble()
        said = f"{type(error).__name__}: {error}"[:2000]
        detail = f"{trouble.detail} {said}" if trouble.detail else said
        raise NotInstalled("ExLlamaV2 cannot be imported", detail.strip(), trouble.hint or INSTALL) from error


def _find_own_programs() -> None:
    """Put our environment's programs on PATH, ninja among them: nobody has to activate it to run us."""
    own, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if own not in path.split(os.pathsep):
        os.environ["PATH"] = f"{path}{os.pathsep}{own}"


def _compiling_trouble() -> Trouble:
    utilities = importlib.import_module("torch.utils.cpp_extension")
    if getattr(utilities, "CUDA_HOME", None) is None and getattr(utilities, "ROCM_HOME", None) is None:
        hint = "Install it (nvcc, the version that PyTorch names), or a ready wheel of ExLlamaV2 for your PyTorch."
        return Trouble(f"{_COMPILES} no CUDA toolkit.", hint)
    named = os.environ.get("CXX", "").split()
    if not any(map(shutil.which, named[:1] or _COMPILERS)):
        return Trouble(f"{_COMPILES} no C++ compiler.", "Install g++.")
    if shutil.which("ninja") is None:
        return Trouble(f"{_COMPILES} no ninja.", install_command("ninja"))
    return Trouble()
