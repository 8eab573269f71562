"""The keys: what each does, how it is bound and may be bound otherwise, and how it is written where people read it.

`bindings` alone knows of Textual; all else may be used by what has no screen.
"""

from tui.keys.now import pressed as pressed
from tui.keys.words import filled as filled
from tui.keys.words import key_line as key_line
from tui.keys.words import shown as shown
from tui.keys.words import slot as slot
