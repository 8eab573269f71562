"""A conversation in plain lines: a prompt, the answer as it comes, the next prompt. The session keeps what is said."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import msgspec

from backends.errors import Problem
from presets.catalog import Catalog, load_catalog
from presets.schema import PresetEntry
from tui.chat import asked, attaching, drafts, recovery
from tui.chat.session import Session
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.chat.target import Target, choose
from tui.line import signals
from tui.plain import questions, told
from tui.plain.following import Following
from tui.plain.hang_up import hand_over
from tui.plain.keyboard import Keyboard
from tui.plain.loop import Loop
from tui.plain.prompt import Prompt, sure
from tui.plain.speaking import say
from tui.settings import Settings
from tui.units import memory
from tui.words import _, ngettext

TWICE_S = 3.0
"""A second Ctrl+C within so long leaves."""


class Wish(msgspec.Struct, frozen=True):
    """What the command line asked for; None leaves it to the settings and to what was last used."""

    preset: str | None = None
    backend: str | None = None
    chat: str | None = None


class Talk:
    """One person's conversation. `edited` is the question that the next words replace, "" for none."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalog: Catalog = Catalog((), ())
        self.loop = Loop()
        self.store = Store(rates=settings.bill)
        self.session: Session = self.loop.look(lambda: Session(self.store, lambda _change: None))
        self.keyboard = Keyboard()
        self.following = Following(self.loop, self.session, self.keyboard)
        self.found: Sequence[str] = ()
        self.edited = self.prefilled = ""
        self.leaving = False
        self._problem: Problem | None = None
        self._prompt: Prompt | None = None

    def begin(self, wish: Wish) -> None:
        """Read what there is, open the last chat, and have its model loaded. Raises Problem without any model."""
        recovery.take_in_all(self.store)
        self.catalog = load_catalog()
        for problem in self.catalog.problems:
            say(told.problem(problem))
        chat = paging.named(self.store, wish.chat) if wish.chat is not None else paging.last_used(self.store)
        last = chat.preset if chat is not None else None
        target = self._target(wish, last)
        if chat is not None:
            self.loop.call(self.session.open(chat.id))
        if target is not None:
            self.loop.look(lambda: self.session.choose(target, evict="none"))
        self._greet(target)
        self.take_draft()

    def run(self, prompt: Prompt) -> None:
        """Ask and answer until the person leaves."""
        from tui.plain.commands import do

        self._prompt = prompt
        if self.settings.history:
            with contextlib.suppress(Problem):
                prompt.remember([question.text for question in asked.load(self.store)])
        if self.session.busy:
            self.follow()
        left_at = 0.0
        while not self.leaving:
            self._tell_news()
            self.prefilled = "\n".join(part for part in (self.prefilled, self.keyboard.typed()) if part)
            first, self.prefilled = self.prefilled, ""
            try:
                text = prompt.read(_("You: "), first)
            except EOFError:
                say()
                return
            except KeyboardInterrupt:
                say()
                if self.edited:
                    self.edited, left_at = "", 0.0
                    say(_("The question stays as it was."))
                    continue
                if prompt.unfinished():
                    left_at = 0.0
                    continue
                if time.monotonic() - left_at < TWICE_S:
                    return
                left_at = time.monotonic()
                say(_("Nothing is running. Ctrl+C again, or Ctrl+D, leaves."))
                continue
            left_at = 0.0
            edited, self.edited = self.edited, ""
            try:
                if text.strip() and (said := do(self, text)) is not None:
                    self.ask(said, edited)
            except Problem as problem:
                say(told.problem(problem))
            except KeyboardInterrupt:
                say()

    def ask(self, text: str, edited: str = "") -> None:
        """Send a question, or another version of the one that is `edited`.

        Raises Problem. What was not sent stands at the next prompt.
        """
        self.prefilled, self.edited = text, edited
        sent = self._with_files(text)
        if sent is None:
            return
        with contextlib.suppress(Problem):
            self.loop.call(self.session.refresh())
        chat = self._chat
        if edited and any(message.id == edited for message in self.session.branch):
            self.loop.call(self.session.edit(edited, sent))
        else:
            self.loop.call(self.session.send(sent))
        self.prefilled = self.edited = ""
        with contextlib.suppress(Problem):
            drafts.save(chat, drafts.Draft(at=drafts.moment()))
        self._remember(text)
        began = time.monotonic()
        self.follow()
        signals.ended(self._title, time.monotonic() - began, looking=True)

    def follow(self, *, already: int = 0) -> None:
        """Follow what runs to its end, and ask what then has to be decided. Raises Problem."""
        while True:
            end = self.following.follow(already=already)
            already = 0
            if end != "over":
                self.leaving = True
                if end == "leave" and self.session.busy:
                    say(_("The answer goes on. `deepseek-tui` shows it."))
                return
            last = self.following.last()
            for line in told.ending(last) if last is not None else ():
                say(line)
            self._tell_news()
            overflow = self.session.remedies.overflow
            if overflow is not None:
                if not questions.decide(self.loop, self.session, overflow):
                    return
            elif not questions.mend(self.loop, self.session):
                return

    def take_draft(self) -> None:
        """Have what was typed in this chat and not sent stand at the next prompt."""
        draft = drafts.load(self._chat)
        self.prefilled = "\n".join(part for part in (*draft.queued, draft.before, draft.text) if part)
        if self.prefilled:
            say(_("What was typed here and not sent stands at the prompt. Ctrl+U takes it away."))

    def keep_draft(self) -> None:
        """Keep what stands at the prompt: this program ends."""
        standing = self._prompt.standing() if self._prompt is not None else ""
        typed = "\n".join(part for part in (standing or self.prefilled, self.keyboard.typed()) if part)
        if typed:
            with contextlib.suppress(Problem):
                drafts.save(self._chat, drafts.Draft(typed, at=drafts.moment()))

    def _with_files(self, text: str) -> str | None:
        """Return a text with the files that it names, or as it is where a person wants that; None is not to be sent."""
        try:
            files = attaching.look(text)
            sent = attaching.expanded(text) if files else text
        except attaching.CannotAttach as problem:
            say(told.problem(problem))
            return text if sure(_("Send the text as it is, without a file?")) else None
        if files:
            names = ", ".join(file.name for file in files)
            size = sum(file.size for file in files)
            say(_("Goes along: {names}, {size}").format(names=names, size=memory(size)))
        return sent

    def _remember(self, text: str) -> None:
        """Keep what was asked for the arrow keys of the next start."""
        chat = self.session.conversation
        question = next((one for one in reversed(self.session.branch) if one.role == "user"), None)
        if self.settings.history and chat is not None and question is not None:
            with contextlib.suppress(Problem):
                asked.add(asked.Question(text, chat.id, question.id))

    @property
    def _chat(self) -> str | None:
        return self.session.conversation.id if self.session.conversation is not None else None

    @property
    def _title(self) -> str:
        return self.session.conversation.title if self.session.conversation is not None else ""

    def close(self) -> None:
        """Let go of everything: what runs goes on in its host."""
        with contextlib.suppress(KeyboardInterrupt):
            hand_over()
            self.loop.call(self.session.leave())
        self.loop.close()
        self.store.close()

    def entry(self, name: str) -> PresetEntry | None:
        """Return a preset by its name, None if there is none or it is broken."""
        return next((entry for entry in self.catalog.entries if entry.name == name), None)

    def _target(self, wish: Wish, last: str | None) -> Target | None:
        named, alive = wish.preset or self.settings.preset, self.settings.keep_alive_s
        try:
            return choose(self.catalog, named, last, wish.backend, alive)
        except Problem as problem:
            say(told.problem(problem))
        with contextlib.suppress(Problem):
            return choose(self.catalog, None, last, keep_alive_s=alive) if named else None
        return None

    def _greet(self, target: Target | None) -> None:
        if title := self._title:
            count = len(self.session.branch)
            text = ngettext("Chat: {title}, {count} message.", "Chat: {title}, {count} messages.", count)
            say(text.format(title=title, count=count) + " " + _("/new begins another, /read reads it out."))
        if target is not None:
            say(_("{title} answers. /help tells the commands.").format(title=target.title))
        else:
            say(_("No model is chosen yet: /presets lists what there is. /help tells the commands."))

    def _tell_news(self) -> None:
        """Tell a failure that belongs to no answer, once."""
        problem = self.session.problem
        if problem is not None and problem is not self._problem:
            say(told.problem(problem))
        self._problem = problem
