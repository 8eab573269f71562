"""What can be done where the conversation no longer fits: how much is too much, what would be left out, and choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from backends.fitting import reserve
from tui import keys
from tui.chat.clean import clean_line
from tui.chat.overflow import Overflow
from tui.chat.storing.stored import StoredMessage
from tui.keys.bindings import bindings
from tui.widgets.keyed import Options, Scroll
from tui.words import _, ngettext

Choice = Literal["without", "larger", "summary", "not now"]
BEGINNING = 52
_CHOICES: tuple[Choice, ...] = ("without", "larger", "summary")


class OverflowScreen(ModalScreen[Choice | None]):
    """The choices, on keys 1 to 3; Esc leaves it for now. It ends with None if they are no longer to be made."""

    CSS_PATH = "overflow.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("overflow")

    def __init__(self, overflow: Overflow, branch: Sequence[StoredMessage]) -> None:
        super().__init__()
        self.overflow = overflow
        self._branch = branch

    def compose(self) -> ComposeResult:
        with Scroll() as box:
            box.border_title = _("The conversation no longer fits")
            box.border_subtitle = keys.filled(
                _("{overflow.1} {overflow.2} {overflow.3} or {overflow.choose} chooses · {overflow.not_now}: not now")
            )
            yield Static(explained(self.overflow, self._branch))
            yield Options(*options(self.overflow))

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(_CHOICES[event.option_index])

    def action_choose(self, number: int) -> None:
        if options(self.overflow)[number - 1].disabled:
            self.app.bell()
        else:
            self.dismiss(_CHOICES[number - 1])

    def action_take(self) -> None:
        self.query_one(OptionList).action_select()

    def action_not_now(self) -> None:
        self.dismiss("not now")

    def withdraw(self) -> None:
        """Take the choices away: something else was decided meanwhile."""
        if self.is_current:
            self.dismiss(None)


def explained(overflow: Overflow, branch: Sequence[StoredMessage]) -> Content:
    """Return what is too much, in figures, and which messages would be left out."""
    fit = overflow.fit
    about = "" if fit.exact else "~"
    holds = _("It has {tokens} tokens. The context holds {context}, of which {reserve} are kept for the answer.")
    figures = {
        "tokens": f"{about}{fit.tokens:,}",
        "context": f"{fit.context:,}",
        "reserve": f"{reserve(fit.context):,}",
    }
    lines = [Content(holds.format(**figures)), Content("")]
    unsent = set(overflow.unsent)
    left_out = [message for message in branch if message.id in unsent and message.text]
    if left_out:
        lines.append(Content(_counted(len(left_out))))
        lines.append(_beginning(_("the first"), left_out[0]))
        if len(left_out) > 1:
            lines.append(_beginning(_("the last"), left_out[-1]))
        without = ngettext(
            "Without it there are {tokens} tokens.", "Without them there are {tokens} tokens.", len(left_out)
        )
        lines.append(Content(without.format(tokens=f"{about}{fit.kept_tokens or 0:,}")))
    elif overflow.start is not None:
        lines.append(Content(_("The summary of what came before would not be sent.")))
    else:
        lines.append(Content(_("The last question alone is too long: there is nothing before it to leave out.")))
    if overflow.told:
        counted = _("This chat's own system prompt counts too, and is always sent: {chat.asking} shows it.")
        lines.append(Content(keys.filled(counted)))
    return Content("\n").join([*lines, Content("")])


def options(overflow: Overflow) -> list[Option]:
    """Return the choices; what is not possible here says why."""
    nothing = "" if overflow.start is not None else _("Nothing can be left out.")
    no_summary = nothing or ("" if overflow.unsent else _("There is nothing left to summarise."))
    if overflow.larger is not None:
        larger, how = _("A larger context: {larger:,} tokens").format(larger=overflow.larger), ""
    else:
        made_for = (
            _("The model was made for {trained:,} tokens.").format(trained=overflow.trained)
            if overflow.trained is not None
            else ""
        )
        larger, how = _("A larger context"), made_for or _("This backend does not say how large its context is.")
    return [
        _option(1, _("Go on without them"), _("They stay on the screen and on disk, marked as not sent."), nothing),
        _option(2, larger, _("The model is loaded again and takes more memory."), how),
        _option(3, _("First a summary of them"), _("The model writes it, and it is sent in their place."), no_summary),
    ]


def _option(number: int, title: str, meaning: str, impossible: str) -> Option:
    text = Content.assemble((f"{number}  ", "bold"), (title, "bold"), "\n   ", (impossible or meaning, "dim"))
    return Option(text, disabled=bool(impossible))


def _counted(messages: int) -> str:
    text = ngettext("The oldest message would not be sent:", "The oldest {count} messages would not be sent:", messages)
    return text.format(count=messages)


def _beginning(which: str, message: StoredMessage) -> Content:
    text = clean_line(message.text.strip())
    if cell_len(text) > BEGINNING:
        text = set_cell_size(text, BEGINNING - 1).rstrip() + "…"
    who = _("you") if message.role == "user" else _("answer")
    return Content.assemble((f"  {set_cell_size(which, 9)} ", "dim"), f"{who}: ", (text, "italic"))
