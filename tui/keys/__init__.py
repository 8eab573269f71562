"""The keys of the screen: what each does, how it is bound, and how it is written where people read it."""

from tui.keys.table import AREAS as AREAS
from tui.keys.table import KEYS as KEYS
from tui.keys.table import MESSAGE_KEYS as MESSAGE_KEYS
from tui.keys.table import SLOT_KEYS as SLOT_KEYS
from tui.keys.table import Place as Place
from tui.keys.table import bindings as bindings
from tui.keys.table import key_line as key_line
from tui.keys.table import shown_keys as shown_keys
from tui.keys.table import slot_key as slot_key
