"""Sources as jobs: one job for one model, whoever wants it, and what it is told."""

from __future__ import annotations

import msgspec
import pytest

from backends.hub.wanted import Pull
from backends.jobs.job import key_of
from backends.jobs.kinds import KINDS as KNOWN
from backends.ollama.wanted import KIND, OllamaPull
from presets.catalog import find, load_catalog
from presets.pulling import KINDS, by_ollama, job_for, job_key, keys, place_of, wanted
from presets.sources import HuggingFace, Ollama, locate, models

SHA256 = "0123456789abcdef" * 4
ONE = HuggingFace("me", "some", "sub/one.gguf", "v1", SHA256)


def test_a_job_is_told_all_that_a_source_says() -> None:
    spec = job_for(ONE, "One", force=True)
    pull = msgspec.convert(spec.work, Pull)
    assert (spec.kind, spec.title, spec.target) == ("pull", "One", str(place_of(ONE)))
    assert (pull.file.owner, pull.file.repo, pull.file.file, pull.file.revision) == ("me", "some", ONE.file, "v1")
    assert (pull.folder, pull.sha256, pull.force) == (str(models() / "me/some@v1"), SHA256, True)


def test_of_one_model_there_is_one_job_however_it_is_called() -> None:
    assert key_of(job_for(ONE, "Another title", force=True)) == job_key(ONE)
    assert job_key(msgspec.structs.replace(ONE, sha256="")) == job_key(ONE)
    others = [
        msgspec.structs.replace(ONE, revision="v2"),
        msgspec.structs.replace(ONE, file="one.gguf"),
        msgspec.structs.replace(ONE, file=""),
        msgspec.structs.replace(ONE, owner="you"),
    ]
    assert len({job_key(source) for source in (ONE, *others)}) == 5


def test_what_a_server_fetches_is_a_job_of_its_own_kind() -> None:
    pull = by_ollama(Ollama("deepseek-r1:8b"), "http://there:11434")
    spec = job_for(pull, "One")
    assert (spec.kind, spec.target) == (KIND, "http://there:11434/deepseek-r1:8b")
    assert msgspec.convert(spec.work, OllamaPull) == pull
    assert set(KNOWN) >= KINDS


def test_a_preset_has_a_job_for_each_of_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    entry = find(load_catalog(), "8b-q4_k_m")
    backends = {
        "llama_cpp": {"source": "hf:me/some/one.gguf"},
        "ollama": {"source": "ollama:r1", "host": "here:1"},
        "openai": {"source": "server:r1"},
    }
    entry = msgspec.structs.replace(entry, preset=msgspec.structs.replace(entry.preset, backends=backends))
    assert wanted(entry, "ollama") == OllamaPull("http://here:1", "r1")
    assert wanted(entry, "openai") is None
    assert keys(entry) == (job_key(HuggingFace("me", "some", "one.gguf")), job_key(OllamaPull("http://here:1", "r1")))
    backends["ollama"]["host"] = "no address at all"
    assert len(keys(entry)) == 1


def test_a_model_is_looked_for_where_it_is_fetched_to() -> None:
    for source in (ONE, HuggingFace("me", "exl2", "", "4.0bpw"), HuggingFace("me", "exl2", "4bit/")):
        place = place_of(source)
        if source.is_folder:
            place.mkdir(parents=True)
            (place / "config.json").write_text("{}")
            (place / "model.safetensors").write_bytes(b"x")
        else:
            place.parent.mkdir(parents=True)
            place.write_bytes(b"GGUF")
        assert locate(source).path == place
        assert locate(source).present
