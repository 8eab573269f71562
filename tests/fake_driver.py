"""A stand-in for the NVIDIA driver's library, compiled from fake_nvml.c, so that the true binding reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "backends" / "fake_nvml.c"


def build(folder: Path, source: Path = SOURCE) -> Path:
    """Compile libnvidia-ml.so.1 into `folder` and return the folder."""
    compiler = next((found for name in ("cc", "gcc", "clang", "c++") if (found := shutil.which(name))), None)
    assert compiler, "a C compiler is needed, as for building the engine"
    folder.mkdir(parents=True, exist_ok=True)
    language = ["-x", "c"] if compiler.endswith("++") else []
    command = [compiler, *language, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", str(source)]
    subprocess.run([*command, "-o", str(folder / "libnvidia-ml.so.1")], check=True)
    return folder


def environment(folder: Path, text: str) -> dict[str, str]:
    """Build the library in `folder`; return the environment of a process that finds it, and hears `text` from it."""
    script = build(folder) / "says"
    script.write_text(text)
    return {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML": str(script)}


def tell(card: dict[str, str], text: str) -> None:
    """Let the driver of that environment say something else from now on."""
    fresh = Path(card["FAKE_NVML"]).with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(card["FAKE_NVML"])
