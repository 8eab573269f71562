"""What single signs of a formula are shown as; for those that are not here the library is asked."""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

_RAISED: Final = str.maketrans(
    "0123456789+-=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWαβγδεθιφχ",
    "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵅᵝᵞᵟᵋᶿᶥᵠᵡ",
)
_LOWERED: Final = str.maketrans("0123456789+-=()aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ")
# Raised already, or written so.
_AS_THEY_ARE: Final = {"∘": "°", "°": "°", "′": "′", "″": "″", "†": "†", "‡": "‡"}

ACCENTS: Final = {
    "hat": "\u0302", "widehat": "\u0302", "tilde": "\u0303", "widetilde": "\u0303", "bar": "\u0304", "vec": "\u20d7",
    "overline": "\u0305", "underline": "\u0332", "dot": "\u0307", "ddot": "\u0308", "check": "\u030c",
    "breve": "\u0306", "acute": "\u0301", "grave": "\u0300", "mathring": "\u030a", "overrightarrow": "\u20d7",
}  # fmt: skip
LINES: Final = {"overline", "underline", "vec", "overrightarrow"}
"""The accents that go over several characters."""

FUNCTIONS: Final = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "sinh",
        "cosh",
        "tanh",
        "coth",
        "arcsin",
        "arccos",
        "arctan",
        "log",
        "ln",
        "lg",
        "exp",
        "lim",
        "limsup",
        "liminf",
        "max",
        "min",
        "sup",
        "inf",
        "det",
        "gcd",
        "lcm",
        "arg",
        "deg",
        "dim",
        "ker",
        "hom",
        "Pr",
        "argmax",
        "argmin",
        "Re",
        "Im",
    ]
)
WITH_LIMITS: Final = frozenset(("lim", "limsup", "liminf", "max", "min", "sup", "inf", "argmax", "argmin"))
"""Those whose index says over what, as that of a sum does."""
BIG: Final = frozenset("∑∏∐∫∬∭∮⋃⋂⨁⨂⋁⋀")
FRACTIONS: Final = frozenset(("frac", "dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"))
BINOMIALS: Final = frozenset(("binom", "dbinom", "tbinom"))
TEXTS: Final = frozenset(
    ("text", "textrm", "textbf", "textit", "textsf", "texttt", "textsc", "textsl", "textup", "textmd", "mbox", "emph")
)
PLAIN: Final = frozenset(
    (
        "mathrm",
        "mathbf",
        "mathit",
        "mathsf",
        "mathtt",
        "mathcal",
        "mathscr",
        "mathfrak",
        "boldsymbol",
        "bm",
        "pmb",
        "mathnormal",
        "mathop",
        "mathbin",
        "mathrel",
        "mathord",
        "smash",
        "ensuremath",
    )
)
"""Styles that a terminal has no letters for, or that fonts do not have: what is inside is shown as it is."""
BOXES: Final = frozenset(("boxed", "fbox", "framebox"))
DELIMITERS: Final = frozenset(
    [
        "left",
        "right",
        "middle",
        "big",
        "Big",
        "bigg",
        "Bigg",
        "bigl",
        "bigr",
        "Bigl",
        "Bigr",
        "biggl",
        "biggr",
        "Biggl",
        "Biggr",
        "bigm",
        "Bigm",
    ]
)
"""How large the next bracket is. A dot after the first three is no bracket at all."""
IGNORED: Final = frozenset(
    (
        "displaystyle",
        "textstyle",
        "scriptstyle",
        "limits",
        "nolimits",
        "nonumber",
        "notag",
        "hline",
        "!",
        "rm",
        "bf",
        "it",
        "centering",
        "allowbreak",
        "break",
        "strut",
        "mathstrut",
        "relax",
        "left.",
        "right.",
    )
)
SPACES: Final = {",": " ", ";": " ", ":": " ", " ": " ", ">": " ", "quad": "  ", "qquad": "  ", "enspace": " "}
SPACES_OF: Final = frozenset(["thinspace", "medspace", "thickspace", "space", "nobreakspace"])

BARS: Final[dict[str, tuple[str, Literal["open", "close", "sign"]]]] = {
    "lvert": ("|", "open"), "rvert": ("|", "close"), "vert": ("|", "sign"),
    "lVert": ("‖", "open"), "rVert": ("‖", "close"), "Vert": ("‖", "sign"),
}  # fmt: skip
"""Bars around something, which are no operators, and what kind of pieces they are."""

_OWN: Final = {
    "implies": "⟹", "impliedby": "⟸", "iff": "⟺", "ne": "≠", "degree": "°", "triangle": "△", "checkmark": "✓",
    "Re": "Re", "Im": "Im", "land": "∧", "lor": "∨", "neg": "¬", "colon": ":", "|": "‖", "%": "%", "gt": ">",
    "lt": "<", "Box": "□", "qed": "□", "blacksquare": "■", "models": "⊨", "bot": "⊥", "euro": "€", "pounds": "£",
    "ddag": "‡", "S": "§", "P": "¶", "copyright": "©", "prime": "′", "ast": "*", "bullet": "•", "mid": "|",
    "dotsc": "…", "dotsb": "⋯", "dotsm": "⋯", "lnot": "¬", "phi": "φ", "epsilon": "ε", "setminus": "∖", "hdots": "…",
    "Longleftrightarrow": "⟺", "longmapsto": "⟼", "backslash": "\\", "-": "", "/": "", "sim": "~", "div": "÷",
    "cdotp": "·", "and": "&", "nleq": "≰", "ngeq": "≱", "varnothing": "∅", "AA": "Å", "surd": "√", "blank": "_",
    "gets": "←",
}  # fmt: skip
# Signs of mathematics that stand for something, and not between two things.
_STANDING: Final = frozenset("∂∇∞∀∃∄∅¬√∛∜∠△⊤⊥∴∵□■…⋮⋱ℓ")
_BETWEEN: Final = frozenset("±×÷·~|")
_DOUBLE: Final = {"C": "ℂ", "H": "ℍ", "N": "ℕ", "P": "ℙ", "Q": "ℚ", "R": "ℝ", "Z": "ℤ"}


def raised(text: str) -> str | None:
    """Return the text as an exponent, None if a character of it has no such form."""
    return _AS_THEY_ARE.get(text) or _moved(text, _RAISED)


def lowered(text: str) -> str | None:
    """Return the text as an index, None if a character of it has no such form."""
    return _moved(text, _LOWERED)


def double_struck(text: str) -> str:
    """Return the names of sets of numbers with their double lines."""
    return "".join(_DOUBLE.get(character, character) for character in text)


def own(name: str) -> str | None:
    """Return the sign of a macro whose name the library does not know, or shows in another way."""
    return _OWN.get(name)


def stands_between(sign: str) -> bool:
    """Say whether a macro's sign is set apart from what is beside it: an operator, a relation, an arrow."""
    if len(sign) != 1 or sign in _STANDING or sign in BIG:
        return False
    return sign in _BETWEEN or unicodedata.category(sign) == "Sm" or "\u2190" <= sign <= "\u21ff"


def _moved(text: str, table: dict[int, int]) -> str | None:
    return text.translate(table) if text and all(ord(character) in table for character in text) else None
