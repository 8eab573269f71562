"""What was copied by way of a file leaves the disk with what it may have been copied from."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tui.chat import copied
from tui.chat.storing import forgetting


@pytest.mark.parametrize("whole", [True, False])
def test_a_copy_goes_when_a_chat_or_a_message_is_deleted_for_good(whole: bool) -> None:
    assert copied.keep("secret").read_text() == "secret"
    asyncio.run(forgetting.forget("aa", ["m1"], whole=whole))
    assert not copied.file().exists()


def test_a_copy_younger_than_what_goes_at_last_is_of_something_else_and_stays() -> None:
    copied.keep("of another chat")
    asyncio.run(forgetting.forget("aa", gone_s=forgetting.KEPT_S))
    assert copied.file().exists()
    before = time.time() - forgetting.KEPT_S - 1
    os.utime(copied.file(), (before, before))
    asyncio.run(forgetting.forget("aa", gone_s=forgetting.KEPT_S))
    assert not copied.file().exists()


def test_where_nothing_was_copied_there_is_nothing_to_do() -> None:
    copied.drop()
    assert not copied.file().exists()
