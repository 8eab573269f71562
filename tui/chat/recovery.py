"""Taking in answers whose end nobody saw: each exactly once, from its spool."""

from __future__ import annotations

from backends.host import spool
from tui.chat.answer import Answer, fold
from tui.chat.store import Store


def take_in(store: Store, answer: str) -> bool:
    """Finish one answer from its spool if nobody writes it any more; say whether it is finished now.

    A spool with a last record makes it what that says; any other makes it interrupted, with all that was written.
    """
    if spool.running(answer):
        return False
    row = store.message(answer)
    if row is None or row.state != "streaming":
        spool.remove(answer)
        return True
    before = row.partial if row.text or row.reasoning else None
    with spool.claim(answer) as claimed:
        if not claimed and spool.path_of(answer).exists():
            return False
        result = fold(spool.read(answer), before) if claimed else Answer(before)
        store.finish(answer, result)
        spool.remove(answer)
    return True


def take_in_all(store: Store) -> list[str]:
    """Finish every answer that was left behind; return the ids of those still running."""
    running = [answer for answer in store.streaming() if not take_in(store, answer)]
    for answer in spool.answers():
        # A spool without a row: its client died before the question was committed. Nothing was said.
        # The lock comes first: a row that is missing while nobody holds the spool will not come any more.
        with spool.claim(answer) as claimed:
            if claimed and store.message(answer) is None:
                spool.remove(answer)
    return running
