"""The keys of the views and questions that open above the chat."""

from __future__ import annotations

from tui.keys.everywhere import SLOTS
from tui.keys.key import Area, Key
from tui.words import N_

SCROLL = Area(
    "scroll",
    N_("In every view"),
    (
        Key("scroll.up", "up", "scroll_up", N_("Scroll up"), N_("up")),
        Key("scroll.down", "down", "scroll_down", N_("Scroll down"), N_("down")),
        Key("scroll.page_up", "pageup", "page_up", N_("Scroll up by a page"), N_("page up")),
        Key("scroll.page_down", "pagedown", "page_down", N_("Scroll down by a page"), N_("page down")),
        Key("scroll.home", "home", "scroll_home", N_("To the beginning"), N_("beginning")),
        Key("scroll.end", "end", "scroll_end", N_("To the end"), N_("end")),
    ),
)

HELP = Area(
    "help",
    N_("In this help"),
    (
        Key("help.close", "escape,q", "dismiss", N_("Close"), N_("closes"), follows="program.help", needed=True),
        Key("help.ids", "i", "ids", N_("Show the ids that config.toml calls the keys by"), N_("ids")),
    ),
)

PLAN = Area(
    "plan",
    N_("In the plan"),
    (
        Key("plan.close", "escape,q,ctrl+c", "dismiss", N_("Close"), N_("closes"), follows="program.plan", needed=True),
        Key("plan.left", "left,shift+tab", "turn(-1)", N_("The preset before"), N_("before"), first=True),
        Key("plan.right", "right,tab", "turn(1)", N_("The next preset"), N_("next"), first=True),
        *(
            Key(f"plan.{slot}", "", f"slot({slot})", N_("The preset on this key"), follows=f"preset.{slot}")
            for slot in range(1, len(SLOTS) + 1)
        ),
        Key("plan.more", "plus,equals_sign", "context(1)", N_("Try a larger context"), N_("larger")),
        Key("plan.less", "minus", "context(-1)", N_("Try a smaller context"), N_("smaller")),
        Key("plan.measure", "m", "measure", N_("Measure how fast this machine is"), N_("measures")),
        Key("plan.load", "enter", "load", N_("Load this preset"), N_("loads"), first=True),
    ),
)

FIGURES = Area(
    "figures",
    N_("In the figures"),
    (
        Key(
            "figures.close", "escape,q,ctrl+c", "dismiss", N_("Close"), N_("closes"),
            follows="program.figures", needed=True,
        ),
        Key("figures.usage", "u", "usage", N_("Usage over time: tokens, energy, money"), N_("usage")),
    ),
)  # fmt: skip

USAGE = Area(
    "usage",
    N_("In the usage"),
    (
        Key("usage.close", "escape,q,ctrl+c", "dismiss", N_("Close"), N_("closes"), needed=True),
        Key("usage.day", "d", "by('day')", N_("By day"), N_("day")),
        Key("usage.preset", "p", "by('preset')", N_("By preset"), N_("preset")),
        Key("usage.backend", "b", "by('backend')", N_("By backend"), N_("backend")),
        Key("usage.chat", "c", "by('chat')", N_("By chat"), N_("chat")),
        Key("usage.left", "left", "turn(-1)", N_("The grouping before"), N_("before"), first=True),
        Key("usage.right", "right", "turn(1)", N_("The next grouping"), N_("next"), first=True),
        Key("usage.earlier", "left_square_bracket", "month(-1)", N_("The month before"), N_("earlier")),
        Key("usage.later", "right_square_bracket", "month(1)", N_("The next month"), N_("later")),
    ),
)

LINE = Area(
    "line",
    N_("In a line of text"),
    (Key("line.submit", "enter", "submit", N_("Take what is typed or chosen"), N_("takes it"), needed=True),),
    typing=True,
)

SEARCH = Area(
    "search",
    N_("In the search"),
    (
        Key("search.up", "up", "move('cursor_up')", N_("One up"), N_("up"), first=True),
        Key("search.down", "down", "move('cursor_down')", N_("One down"), N_("down"), first=True),
        Key("search.page_up", "pageup", "move('page_up')", N_("A page up"), N_("page up"), first=True),
        Key("search.page_down", "pagedown", "move('page_down')", N_("A page down"), N_("page down"), first=True),
        Key("search.leave", "escape,ctrl+c", "leave", N_("Close"), N_("closes"), first=True, needed=True),
    ),
    typing=True,
)

QUESTION = Area(
    "question",
    N_("Asked a question"),
    (
        Key("question.yes", "enter,y", "answer(True)", N_("Yes"), N_("yes"), first=True, needed=True),
        Key("question.no", "escape,ctrl+c,n,q", "answer(False)", N_("No"), N_("no"), first=True, needed=True),
    ),
)

FETCH = Area(
    "fetch",
    N_("Asked whether to fetch a model"),
    (
        Key(
            "fetch.yes", "enter,y", "choose", N_("What makes sense: use it, fetch it, go on"), N_("yes"),
            first=True, needed=True,
        ),
        Key("fetch.fetch", "f", "fetch", N_("Fetch it in any case"), N_("fetches"), needed=True),
        Key("fetch.no", "escape,ctrl+c,n,q", "leave", N_("Leave it"), N_("leaves it"), first=True, needed=True),
    ),
)  # fmt: skip

OVERFLOW = Area(
    "overflow",
    N_("When the context is full"),
    (
        Key("overflow.1", "1", "choose(1)", N_("Go on without what is oldest"), N_("without")),
        Key("overflow.2", "2", "choose(2)", N_("Load a larger context"), N_("larger")),
        Key("overflow.3", "3", "choose(3)", N_("Send a summary of it"), N_("summary")),
        Key("overflow.choose", "enter", "take", N_("Choose what is marked"), N_("chooses"), needed=True),
        Key("overflow.not_now", "escape,ctrl+c,q", "not_now", N_("Not now"), N_("not now"), needed=True),
    ),
)


def _form(place: str, *, first: bool = True) -> tuple[Key, ...]:
    """Return the keys of a form of fields; without `first` a field with many lines has its own ups and downs."""
    return (
        Key(f"{place}.save", "ctrl+s", "save", N_("Save"), N_("saves"), first=True),
        Key(f"{place}.down", "down", "app.focus_next", N_("The next field"), N_("next field"), first=first),
        Key(f"{place}.up", "up", "app.focus_previous", N_("The field before"), N_("field before"), first=first),
        Key(
            f"{place}.next", "enter", "app.focus_next", N_("The next field"), N_("next field"), beside=("line.submit",)
        ),
        # In order with what is typed before and behind them, however fast: the program's own come after it.
        Key(f"{place}.forward", "", "app.focus_next", N_("The next field"), follows="move.next", first=True),
        Key(f"{place}.back", "", "app.focus_previous", N_("The field before"), follows="move.previous", first=True),
        Key(f"{place}.leave", "escape,ctrl+c", "leave", N_("Leave"), N_("leaves"), first=True, needed=True),
    )  # fmt: skip


EDIT = Area("edit", N_("Editing a preset"), _form("edit"), typing=True)
ASKING = Area("asking", N_("How this chat asks"), _form("asking", first=False), typing=True)

CHOICE = Area(
    "choice",
    N_("In a field of values"),
    (
        Key("choice.left", "left", "turn(-1)", N_("The value before"), N_("before")),
        Key("choice.right", "right,space", "turn(1)", N_("The next value"), N_("next")),
    ),
)

NAME = Area(
    "name",
    N_("Naming a copy"),
    (Key("name.leave", "escape,ctrl+c", "leave", N_("Leave"), N_("leaves"), first=True, needed=True),),
    typing=True,
)

TITLE = Area(
    "title",
    N_("Renaming a chat"),
    (Key("title.leave", "escape,ctrl+c", "leave", N_("Leave"), N_("leaves"), first=True, needed=True),),
    typing=True,
)
