"""Drafts of presets: whatever a model is called, the file that is written is TOML and says what it should."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presets.drafting import Draft, quantization_in, source_text, text_of
from presets.found import find_models
from presets.schema import decode
from presets.sources import SourceError, parse
from presets.writing import check_name, name_from
from tests.gguf_files import QWEN_1_5B
from tests.models_here import gguf, in_lm_studio


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("DeepSeek-R1-Distill-Qwen-14B-Q3_K_S.gguf", "Q3_K_S"),
        ("DeepSeek-R1-Distill-Qwen-32B-IQ2_XXS.gguf", "IQ2_XXS"),
        ("sub/DeepSeek-R1-Distill-Qwen-32B-F16-00001-of-00002.gguf", "F16"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("8b-llama-distill-q4_K_M", "Q4_K_M"),
        ("x-Q8_0.gguf", "Q8_0"),
        ("x-IQ4_NL.gguf", "IQ4_NL"),
        ("x.BF16.gguf", "BF16"),
        ("x-Q6_K_L.gguf", "Q6_K_L"),
        ("q4_k_m-and-q8_0.gguf", "Q8_0"),
        ("8b", ""),
        ("QwQ-32B.gguf", ""),
        ("model.gguf", ""),
    ],
)
def test_the_quantisation_is_read_from_a_name(name: str, quantization: str) -> None:
    assert quantization_in(name) == quantization


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("https://huggingface.co/a/b/blob/main/c.gguf", "hf:a/b/c.gguf"),
        ("https://huggingface.co/a/b/resolve/v1/d/c%20e.gguf?download=true", "hf:a/b/d/c e.gguf@v1"),
        (" hf:a/b/c.gguf ", "hf:a/b/c.gguf"),
        ("hf:a/b", "hf:a/b"),
        ("ollama:x:1b", "ollama:x:1b"),
        ("/no/such.gguf", "file:/no/such.gguf"),
    ],
)
def test_a_source_may_be_written_in_many_ways(text: str, source: str) -> None:
    assert source_text(text) == source


def test_a_file_that_lies_here_is_meant_and_not_another_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_lm_studio("a/b/c.gguf", QWEN_1_5B)
    path = gguf(tmp_path / "c.gguf", QWEN_1_5B, "Q8_0")
    monkeypatch.chdir(tmp_path)
    assert source_text("c.gguf", find_models().found) == f"file:{path}"


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/a/b", "https://huggingface.co/a/b/tree/main/c", "https://evil.example/a/b/blob/main/c",
        "https://huggingface.co/a/b/blob/main/../../c", "ftp://x", "", "nothing", "http://[", "https://huggingface.co:x/a",
        "x" * 5000, "~nobody-of-this-name/x", "a\0b",
    ],
)  # fmt: skip
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        source_text(text)


@given(
    st.text()
    | st.text("ab/.:-_ ", max_size=20).map("https://huggingface.co/{}".format)
    | st.text(max_size=9).map("~{}".format)
)
def test_any_text_is_a_source_or_an_error(text: str) -> None:
    with contextlib.suppress(SourceError):
        assert parse(source_text(text))


@given(st.text())
def test_any_text_gives_a_name_that_a_preset_may_have(text: str) -> None:
    name = name_from(text)
    assert name_from(name) == name or name.endswith(".gguf")
    if not name.endswith(".toml"):
        assert check_name(name + "-x" if len(name) < 60 else name)


@given(
    title=st.text(min_size=1, max_size=80), family=st.text(), quantization=st.text(),
    sources=st.dictionaries(st.sampled_from(["llama_cpp", "ollama", "exllamav2"]), st.text(), min_size=1),
    slot=st.none() | st.integers(1, 6),
)  # fmt: skip
def test_any_draft_is_toml_that_says_the_same(
    title: str, family: str, quantization: str, sources: dict[str, str], slot: int | None
) -> None:
    text = text_of(Draft("x", title, family, quantization, "auto", sources, slot=slot))
    preset = decode("x", tomllib.loads(text))
    assert (preset.title, preset.model.family, preset.model.quantization) == (title, family, quantization)
    assert {name: table["source"] for name, table in preset.backends.items()} == sources
    assert (preset.slot, preset.backend, preset.context) == (slot, next(iter(sources)), 8192)
