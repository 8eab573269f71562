"""Getting the engine: which way is tried, what counts as working, and that builds are kept whole and made once."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tools import build, cuda_runtime, engine, wheelhouse
from tools.engine import Way, Workshop
from tools.nvidia import Driver
from tools.say import Trouble

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.3.36"
CPU, GPU = "return False", "return True"


# Choosing


def test_a_driver_for_cuda_12_4_gets_the_newest_wheel_that_it_can_run_first() -> None:
    kinds = engine.ways(Driver((12, 4)), Path("/usr/local/cuda/bin/nvcc"))
    assert [way.tag for way in kinds if way.kind == "cuda-wheel"] == ["cu124", "cu123", "cu122", "cu121", "cu118"]
    assert [way.kind for way in kinds[-3:]] == ["cuda-build", "wheel", "build"]


@pytest.mark.parametrize(
    ("cuda", "newest"), [((11, 8), "cu118"), ((12, 9), "cu125"), ((13, 1), "cu130"), ((14, 0), "cu132")]
)
def test_no_wheel_is_newer_than_the_driver(cuda: tuple[int, int], newest: str) -> None:
    assert engine.ways(Driver(cuda), None)[0] == Way("cuda-wheel", newest)


def test_a_driver_of_unknown_cuda_gets_a_build_only_if_nvcc_is_there() -> None:
    assert [way.kind for way in engine.ways(Driver(None), Path("nvcc"))] == ["cuda-build", "wheel", "build"]
    assert [way.kind for way in engine.ways(Driver(None), None)] == ["wheel", "build"]
    assert engine.ways(None, Path("nvcc")) == [Way("wheel"), Way("build")]


# Installing: a real environment, the real pip, and wheels that behave as the engine would


@pytest.fixture(scope="module")
def environment_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def shop(environment_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    subprocess.run([environment_python, "-m", "pip", "uninstall", "-qy", engine.NAME], check=True)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(f"{engine.NAME}=={VERSION}\n")
    return Workshop(environment_python, constraints, VERSION, tmp_path / "setup.log")


def keep_wheel(variant: str, answer: str, *, cuda: bool = False, on_import: str = "") -> Path:
    """Put a wheel into the wheelhouse, as an earlier set-up would have."""
    flags = build.compiler_flags() if variant == "cpu" else ""
    folder = wheelhouse.folder() / wheelhouse.key(VERSION, variant, "", *filter(None, [flags]))
    folder.mkdir()
    return write_wheel(folder, answer, cuda=cuda, on_import=on_import)


def write_wheel(folder: Path, answer: str, *, cuda: bool = False, on_import: str = "") -> Path:
    wheel = folder / f"llama_cpp_python-{VERSION}-py3-none-any.whl"
    info = f"llama_cpp_python-{VERSION}.dist-info"
    code = f"{on_import}\n__version__ = {VERSION!r}\ndef llama_supports_gpu_offload(): {answer}\n"
    files = {
        "llama_cpp/__init__.py": code,
        "llama_cpp/lib/libggml-cuda.so" if cuda else "llama_cpp/lib/libggml.so": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def test_with_a_driver_the_cuda_wheel_is_installed_and_no_warning_given(shop: Workshop) -> None:
    keep_wheel("cu124", GPU, cuda=True)
    keep_wheel("cpu", CPU)
    assert engine.install(shop, Driver((12, 4)), None) == ""
    assert engine.probe(shop.python).verdict == "gpu"


def test_without_an_index_a_machine_with_a_card_gets_the_plain_engine_and_a_loud_word(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_wheel("cpu", CPU)
    warning = engine.install(shop, Driver((12, 4)), None)
    assert "runs on the processor only" in warning
    said = capsys.readouterr()
    assert "looking for a wheel for cu124" in said.out
    assert "CUDA 12.4" in said.err
    assert "nvcc: not found" in said.err
    assert "make setup" in said.err
    assert engine.probe(shop.python).verdict == "cpu"


def test_a_cuda_wheel_whose_libraries_do_not_load_gives_way_to_the_next(
    shop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_wheel("cu124", GPU, cuda=True, on_import="raise OSError('libcuda-something.so.9: cannot open shared object')")
    keep_wheel("cu122", GPU, cuda=True)
    assert engine.install(shop, Driver((12, 4)), None) == ""
    assert "cuda-wheel cu124: OSError: libcuda-something.so.9" in capsys.readouterr().out
    assert engine.probe(shop.python).verdict == "gpu"


def test_a_wheel_that_kills_its_process_gives_way_to_the_next(shop: Workshop) -> None:
    keep_wheel("cu124", GPU, cuda=True, on_import="import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    keep_wheel("cpu", CPU)
    assert "runs on the processor only" in engine.install(shop, Driver((12, 4)), None)


def test_a_cuda_engine_that_sees_no_card_is_kept_and_said(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    keep_wheel("cu124", CPU, cuda=True)
    assert "the driver shows it no card" in engine.install(shop, Driver((12, 4)), None)
    assert "nvidia-smi" in capsys.readouterr().err
    assert engine.probe(shop.python).verdict == "no-card"


def test_an_engine_that_fits_already_is_left_alone(shop: Workshop) -> None:
    keep_wheel("cpu", CPU)
    engine.install(shop, None, None)
    shutil.rmtree(wheelhouse.folder())
    assert engine.install(shop, None, None) == ""


def test_a_wheel_at_hand_is_taken_before_anything_is_compiled(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hand").mkdir()
    write_wheel(tmp_path / "hand", CPU)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "hand"))
    assert engine.install(shop, None, None) == ""
    assert engine.probe(shop.python).version == VERSION


def test_an_engine_that_never_runs_is_trouble_with_the_reason(shop: Workshop) -> None:
    keep_wheel("cpu", CPU, on_import="raise OSError('libgomp.so.1: cannot open shared object file')")
    with pytest.raises(Trouble, match=r"libgomp\.so\.1"):
        engine.install(shop, None, None)


# NVIDIA's libraries


def test_missing_cuda_libraries_are_found_beside_the_engine_once_linked(tmp_path: Path) -> None:
    beside = tmp_path / "llama_cpp" / "lib"
    theirs = tmp_path / "nvidia" / "cuda_runtime" / "lib"
    beside.mkdir(parents=True)
    theirs.mkdir(parents=True)
    source = tmp_path / "empty.c"
    source.write_text("int nothing(void) { return 0; }\n")
    compiler = shutil.which("cc") or "c++"
    runtime = theirs / "libcudart.so.12"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", runtime, source, f"-Wl,-soname,{runtime.name}"], check=True
    )  # fmt: skip
    library = beside / "libggml-cuda.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, source, "-Wl,--no-as-needed", runtime, "-Wl,-rpath,$ORIGIN"],
        check=True,
    )  # fmt: skip
    load = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(library)!r})"]
    before = subprocess.run(load, capture_output=True, text=True, check=False)
    assert cuda_runtime.is_missing(before.stderr)
    assert cuda_runtime.link(tmp_path) == ["libcudart.so.12"]
    subprocess.run(load, check=True)


def test_nvidias_packages_are_named_for_the_wheels_cuda() -> None:
    assert cuda_runtime.packages("cu124") == ["nvidia-cuda-runtime-cu12==12.4.*", "nvidia-cublas-cu12==12.*"]
    assert cuda_runtime.packages("cu130") == ["nvidia-cuda-runtime==13.0.*", "nvidia-cublas==13.*"]


# Compiling


def write_source(folder: Path, backend: str) -> Path:
    """A source package whose own build backend stands in for a compiler."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(f"import os, shutil, sys\ndef build_wheel(to, *rest, **more):\n{backend}")
    return folder


def compile_source(shop: Workshop, source: Path, scratch: Path) -> Path:
    scratch.mkdir()
    # The pinned pip, as a set-up has it by then: that of this environment.
    return build.compile_wheel(Path(sys.executable), str(source), shop.constraints, "-DGGML_CUDA=on", scratch, shop.log)


def test_a_build_gets_its_options_and_all_cores_and_returns_the_wheel(shop: Workshop, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, CPU)
    source = write_source(
        tmp_path / "source",
        "    print('[1/2] Building CXX object', os.environ['CMAKE_ARGS'], flush=True)\n"
        "    print('jobs', os.environ['CMAKE_BUILD_PARALLEL_LEVEL'], flush=True)\n"
        f"    shutil.copy({str(wheel)!r}, to)\n    return {wheel.name!r}\n",
    )
    made = compile_source(shop, source, tmp_path / "scratch")
    assert zipfile.is_zipfile(made)
    log = shop.log.read_text()
    assert "[1/2] Building CXX object -DGGML_CUDA=on" in log
    assert f"jobs {build.cores()}" in log


def test_a_processor_with_amx_gets_a_build_that_leaves_it_out_and_a_key_of_its_own(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho '#define __AVX2__ 1'\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("CXXFLAGS", "-g")
    monkeypatch.delenv("CFLAGS", raising=False)
    wheel = write_wheel(tmp_path, CPU)
    backend = (
        "    print('flags', os.environ.get('CXXFLAGS'), '/', os.environ.get('CFLAGS'), flush=True)\n"
        f"    shutil.copy({str(wheel)!r}, to)\n    return {wheel.name!r}\n"
    )
    source = write_source(tmp_path / "source", backend)
    plain = engine._key(shop, Way("build"), None, None)
    compile_source(shop, source, tmp_path / "first")
    assert "flags -g / None" in shop.log.read_text()

    compiler.write_text("#!/bin/sh\necho '#define __AVX2__ 1'\necho '#define __AMX_TILE__ 1'\n")
    compile_source(shop, source, tmp_path / "second")
    without = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
    assert f"flags -g {without} / {without}" in shop.log.read_text()
    assert engine._key(shop, Way("build"), None, None) != plain


def test_a_failed_build_shows_the_compilers_words_the_log_and_a_way_out(shop: Workshop, tmp_path: Path) -> None:
    source = write_source(
        tmp_path / "source",
        "    print('[1/2] Building', flush=True)\n    print('ggml.c:7: fatal error: foo.h: No such file', flush=True)\n"
        "    sys.exit(1)\n",
    )
    with pytest.raises(Trouble) as caught:
        compile_source(shop, source, tmp_path / "scratch")
    assert "fatal error: foo.h" in caught.value.detail
    assert str(shop.log) in caught.value.detail
    assert "CMAKE_BUILD_PARALLEL_LEVEL=1" in caught.value.hint


def test_progress_is_one_changing_line_on_a_terminal_and_a_few_lines_in_a_log() -> None:
    lines = [f"  [{n}/9] Building CXX object a.o\n" for n in range(1, 10)] + ["warning: unused\n", "[ 50%] Linking\n"]
    live, quiet, often = io.StringIO(), io.StringIO(), io.StringIO()
    for out, progress in (
        (live, build.Progress(live, live=True)),
        (quiet, build.Progress(quiet, live=False, every_s=3600)),
        (often, build.Progress(often, live=False, every_s=0)),
    ):
        for text in lines:
            progress.see(text)
        progress.end()
        assert out.getvalue().count("\n") == {id(live): 1, id(quiet): 0, id(often): 10}[id(out)]
    assert "\r  compiling 9/9" in live.getvalue()
    assert "  compiling 50 %" in often.getvalue()


# Keeping


def test_a_key_tells_apart_what_a_native_build_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = wheelhouse.key(VERSION, "cpu", "")
    assert here == wheelhouse.key(VERSION, "cpu", "")
    others = {wheelhouse.key(VERSION, "cpu", "-DGGML_VULKAN=on"), wheelhouse.key("0.3.37", "cpu", "")}
    others.add(wheelhouse.key(VERSION, "cuda", ""))
    monkeypatch.setattr(wheelhouse, "cpu_flags", lambda: "fpu sse4_2")
    others.add(wheelhouse.key(VERSION, "cpu", ""))
    assert len(others | {here}) == 5


def test_processor_flags_are_the_same_in_any_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("processor : 0\nflags\t\t: fpu avx2 sse\n\nprocessor : 1\nflags\t\t: other\n")
    second.write_text("flags : sse fpu avx2\n")
    assert wheelhouse.cpu_flags(first) == wheelhouse.cpu_flags(second) == "avx2 fpu sse"


def never() -> None:
    raise AssertionError("nobody else builds")


def test_a_damaged_wheel_is_made_again_and_a_failed_one_leaves_nothing() -> None:
    damaged = keep_wheel("cpu", CPU)
    damaged.write_bytes(damaged.read_bytes()[:100])
    name = damaged.parent.name
    assert wheelhouse.find(name) is None

    def fail(scratch: Path) -> Path:
        raise Trouble("no")

    with pytest.raises(Trouble):
        wheelhouse.keep(name, fail, never)
    made = wheelhouse.keep(name, lambda scratch: write_wheel(scratch, CPU), never)
    assert wheelhouse.find(name) == made
    assert sorted(path.name for path in wheelhouse.folder().iterdir()) == [name, f"{name}.lock"]


BUILDER = """
import sys, time, zipfile
from pathlib import Path
from tools import wheelhouse
def make(scratch):
    print("building", flush=True)
    time.sleep(float(sys.argv[1]))
    wheel = scratch / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a", "a")
    return wheel
print(wheelhouse.keep("key", make, lambda: print("waiting", flush=True)), flush=True)
"""


def builder(seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."})


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_of_two_builds_at_once_one_builds_and_the_other_takes_the_result() -> None:
    first = builder(0.5)
    assert first_line(first) == "building"
    second = builder(0.5)
    assert first_line(second) == "waiting"
    results = {first.communicate()[0].strip(), second.communicate()[0].strip()}
    assert results == {str(wheelhouse.folder() / "key" / "a.whl")}


def test_a_build_that_was_killed_leaves_no_half_wheel_and_no_lock() -> None:
    killed = builder(60)
    assert first_line(killed) == "building"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert wheelhouse.find("key") is None
    started = time.monotonic()
    again = builder(0)
    assert first_line(again) == "building"
    assert again.communicate()[0].strip() == str(wheelhouse.find("key"))
    assert time.monotonic() - started < 10
    assert sorted(path.name for path in wheelhouse.folder().iterdir()) == ["key", "key.lock"]
