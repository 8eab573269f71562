"""Which libraries an ELF file needs, and what that says of a CUDA build."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.hardware import cuda
from backends.hardware.cuda import CudaBuild
from backends.hardware.shared_libraries import needed


def compiled(folder: Path, name: str, *needs: str) -> Path:
    """Build a shared library that needs others of these names."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed, as for building the engine"
    folder.mkdir(parents=True, exist_ok=True)
    empty = folder / "empty.c"
    empty.write_text("int nothing;\n")
    beside = []
    for need in needs:
        subprocess.run([compiler, "-shared", str(empty), f"-Wl,-soname,{need}", "-o", str(folder / need)], check=True)
        beside.append(str(folder / need))
    library = folder / name
    command = [compiler, "-shared", "-Wl,--no-as-needed", str(empty), *beside, "-o", str(library)]
    subprocess.run(command, check=True)
    return library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda build")
    return compiled(folder, "libggml-cuda.so", "libcudart.so.12", "libcublas.so.12")


def test_what_a_library_needs_is_read_from_its_file(library: Path) -> None:
    assert {"libcudart.so.12", "libcublas.so.12"} <= set(needed(library))


def test_a_cuda_build_says_which_cuda_it_needs(library: Path, tmp_path: Path) -> None:
    assert cuda.build_in(library.parent) == CudaBuild("libggml-cuda.so", 12)
    assert cuda.build_in(tmp_path) is None
    assert cuda.build_in(tmp_path / "none") is None
    (tmp_path / "libggml-cuda.so").write_bytes(b"\x7fELF nothing more")
    assert cuda.build_in(tmp_path) == CudaBuild("libggml-cuda.so", None)


def test_the_library_that_a_loader_misses_is_named() -> None:
    said = "Failed to load shared library: libcudart.so.12: cannot open shared object file: No such file or directory"
    assert cuda.missing_library(said) == "libcudart.so.12"
    assert cuda.runtime_major("libcudart.so.12") == 12
    assert cuda.missing_library("out of memory") == ""
    assert cuda.runtime_major("libgomp.so.1") is None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damaged_library_raises_or_takes_long(library: Path, data: st.DataObject) -> None:
    whole = bytearray(library.read_bytes()[:6000])
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(4, 400))] = data.draw(st.integers(0, 255))
    damaged = library.with_name("damaged")
    damaged.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert len(needed(damaged)) <= 4096
