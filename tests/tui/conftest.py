"""What all tests of the screens and commands get: keys as the table has them, whatever another test set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tui.keys import now


@pytest.fixture(autouse=True)
def _the_tables_own_keys() -> Iterator[None]:
    yield
    now.put({})
