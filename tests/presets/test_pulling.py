"""Sources as jobs: one job for one model, whoever wants it, and what it is told."""

from __future__ import annotations

import msgspec

from backends.hub.wanted import Pull
from backends.jobs.job import key_of
from presets.pulling import job_for, job_key, place_of
from presets.sources import HuggingFace, locate, models

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


def test_a_model_is_looked_for_where_it_is_fetched_to() -> None:
    for source in (ONE, HuggingFace("me", "exl2", "", "4.0bpw"), HuggingFace("me", "exl2", "4bit/")):
        place = place_of(source)
        if source.is_folder:
            place.mkdir(parents=True)
            (place / "config.json").write_text("{}")
        else:
            place.parent.mkdir(parents=True)
            place.write_bytes(b"GGUF")
        assert locate(source).path == place
        assert locate(source).present
