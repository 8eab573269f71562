"""Unfinished files: what counts as the same content, and names that stay where they belong."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import ServerError
from backends.hub.listing import below, safe_place
from backends.hub.part import Identity, Part

KNOWN = st.sampled_from(["", "a", "b"])
IDENTITIES = st.builds(Identity, st.integers(0, 2), KNOWN, KNOWN, KNOWN, KNOWN)


@given(IDENTITIES, IDENTITIES)
def test_the_same_is_the_same_from_both_sides_and_never_where_nothing_is_known(one: Identity, other: Identity) -> None:
    assert one.same(other) == other.same(one)
    assert one.same(one) == bool(one.sha256 or one.blob or one.commit or one.etag)
    if one.same(other):
        assert one.size == other.size
        assert not (one.sha256 and other.sha256 and one.sha256 != other.sha256)


@given(st.text() | st.text("ab./\\~ ", max_size=12))
def test_any_name_stays_below_its_folder_or_is_refused(name: str) -> None:
    try:
        place = below(Path("/models/me"), safe_place(name))
    except ServerError as error:
        told = str(error)
    else:
        told = str(place)
        assert Path("/models/me") in place.parents
        assert ".." not in place.parts
    assert told.isprintable()


def test_of_a_part_that_was_verified_nothing_is_read_again_unless_it_changes(tmp_path: Path) -> None:
    identity = Identity(4, "hash")
    part = Part(tmp_path / "one", identity)
    part.write(b"GGUF")
    part.check()
    part.close()
    again = Part(tmp_path / "one", identity)
    assert (again.checked, again.size) == (True, 4)
    again.close()
    (tmp_path / "one.part").write_bytes(b"GG")
    shorter = Part(tmp_path / "one", identity)
    assert (shorter.checked, shorter.size) == (False, 2)
    shorter.close()
    (tmp_path / "one.part").write_bytes(b"GGUF and more")
    longer = Part(tmp_path / "one", identity)
    assert (longer.checked, longer.size) == (False, 0)
    longer.close()


def test_another_identity_empties_a_part_before_it_is_noted(tmp_path: Path) -> None:
    for identity in (Identity(4, "one"), Identity(4, "two"), Identity(5, "two"), Identity(5, etag='"x"'), Identity(5)):
        part = Part(tmp_path / "one", identity)
        assert part.size == 0
        part.write(b"GGUF")
        part.close()
        about = msgspec.json.decode((tmp_path / "one.part.json").read_bytes())
        assert msgspec.convert(about["identity"], Identity) == identity
