"""A model folder that is not whole, or not for ExLlamaV2, is told of before the engine sees it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.conformance.law import check_error
from backends.errors import BackendError, BadModelFile, ModelNotFound
from backends.exllamav2.folder import read_folder
from tests.backends.exllamav2_world import write_folder, write_tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model", size=4096)


def refused(folder: Path) -> BadModelFile:
    with pytest.raises(BadModelFile) as caught:
        read_folder(folder)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("quantization", "kind"),
    [
        ({"quant_method": "exl2", "bits": 3.5, "head_bits": 6}, "EXL2 3.5 bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "GPTQ 4 bits"),
        ({"quant_method": "gptq"}, "GPTQ"),
    ],
)
def test_the_formats_that_it_reads_are_told_apart(tmp_path: Path, quantization: dict[str, object], kind: str) -> None:
    assert read_folder(write_folder(tmp_path / "model", quantization=quantization)).kind == kind


def test_a_folder_without_quantization_is_fp16(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    found = read_folder(folder)
    assert found.kind == "FP16"
    assert (found.layers, found.trained_context) == (4, 131072)
    assert found.weight_bytes == (folder / "output.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("method", "hint"), [("exl3", "TabbyAPI"), ("awq", "vLLM"), ("bitsandbytes", "EXL2, GPTQ and FP16"), ("", "EXL2")]
)
def test_other_quantizations_are_refused_with_a_way_out(tmp_path: Path, method: str, hint: str) -> None:
    error = refused(write_folder(tmp_path / "model", quantization={"quant_method": method, "bits": 4}))
    assert error.title == "ExLlamaV2 cannot read this quantization"
    assert hint in error.hint


def test_a_folder_that_is_not_there_and_a_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_folder(tmp_path / "gone")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    error = refused(file)
    assert error.title == "The model is a GGUF file, not a folder"
    assert "llama.cpp" in error.hint


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "output.safetensors").unlink()
    write_tensors(folder / "output-00001-of-00003.safetensors")
    write_tensors(folder / "output-00003-of-00003.safetensors")
    assert "1 of 3 parts are missing, the first is output-00002-of-00003.safetensors" in refused(folder).detail


def test_a_part_that_only_the_index_names_is_missing_too(folder: Path) -> None:
    (folder / "output.safetensors").rename(folder / "model-00001-of-000002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-000002.safetensors", "b": "model-00002-of-000002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00002-of-000002.safetensors" in refused(folder).detail


def test_the_index_of_the_original_in_a_quantized_folder_is_no_matter(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-000002.safetensors", "b": "model-00002-of-000002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_folder(folder).weight_bytes


def test_a_part_that_was_cut_is_told_with_its_sizes(folder: Path) -> None:
    part = folder / "output.safetensors"
    size = part.stat().st_size
    with part.open("r+b") as file:
        file.truncate(size - 1)
    error = refused(folder)
    assert error.title == "A part of the model is incomplete"
    assert f"{size - 1:,} of {size:,} bytes" in error.detail


@pytest.mark.parametrize(
    "content", [b"", b"short", struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 4) + b"nope", b"\xff" * 100]
)
def test_a_part_that_is_damaged_is_told(folder: Path, content: bytes) -> None:
    (folder / "output.safetensors").write_bytes(content)
    assert refused(folder).title == "A part of the model is damaged"


def test_the_name_of_a_file_instead_of_the_file_is_told(folder: Path) -> None:
    (folder / "output.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "git lfs pull" in refused(folder).hint


@pytest.mark.parametrize(
    ("name", "title"),
    [("config.json", "incomplete"), ("tokenizer.json", "incomplete"), ("output.safetensors", "no .safetensors files")],
)
def test_a_file_that_is_missing_is_named(folder: Path, name: str, title: str) -> None:
    (folder / name).unlink()
    assert title in refused(folder).title


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_file_that_is_damaged_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b'{"half": ')
    error = refused(folder)
    assert error.title == "A file of the model folder is damaged"
    assert name in error.detail


def test_a_folder_of_something_else_is_no_language_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "clip"}')
    assert refused(folder).title == "This is not a language model"


def template(folder: Path, said: object) -> str:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": said}))
    return read_folder(folder).template


def test_the_template_is_found_wherever_publishers_put_it(folder: Path) -> None:
    assert template(folder, "one") == "one"
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    assert template(folder, several) == "plain"
    assert template(folder, several[:1]) == "tools"
    assert template(folder, None) == ""
    (folder / "chat_template.jinja").write_text("of its own")
    assert template(folder, "one") == "of its own"
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert read_folder(folder).template == ""


def test_all_tokens_that_end_an_answer_are_gathered(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": [128001, 128009]}')
    assert read_folder(folder).ends == (1, 128001, 128009)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
_KEYS = ["architectures", "num_hidden_layers", "eos_token_id", "quantization_config", "added_tokens", "chat_template"]


def read_or_typed(folder: Path) -> None:
    """Read a folder; an error has to be one that a person can act on."""
    try:
        read_folder(folder)
    except BackendError as error:
        check_error(error)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]),
    content=st.binary(max_size=40)
    | st.dictionaries(st.sampled_from(_KEYS), _JSON, max_size=3).map(lambda value: json.dumps(value).encode()),
)
def test_whatever_stands_in_its_files_the_error_is_typed(folder: Path, name: str, content: bytes) -> None:
    write_folder(folder, size=4096)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    read_or_typed(folder)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=64) | _JSON.map(lambda value: with_length(json.dumps(value).encode())))
def test_whatever_stands_in_a_part_the_error_is_typed(folder: Path, content: bytes) -> None:
    (folder / "output.safetensors").write_bytes(content)
    read_or_typed(folder)


def with_length(head: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head
