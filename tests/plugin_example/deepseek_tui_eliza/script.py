"""What ELIZA says: patterns and replies in the manner of Joseph Weizenbaum's DOCTOR script of 1966."""

from __future__ import annotations

import re

_REPLIES = (
    (r"\bi need (.+)", "Why do you need {}? Would it really help you to get {}?"),
    (r"\bi am (.+)", "How long have you been {}, and how do you feel about being {}?"),
    (r"\bi feel (.+)", "Tell me more about feeling {}. Do you often feel {}?"),
    (r"\bbecause (.+)", "Is that the real reason? What other reasons besides {} come to your mind?"),
    (
        r"\b(?:mother|father|sister|brother)\b()",
        "Tell me more about your family. Who else in your family comes to mind?",
    ),
    (r"\byou (.+?)(?: me)?$", "We were discussing you, not me. What makes you think that I {}?"),
    (r"^(?:hello|hi|good day)\b()", "How do you do. Please tell me what has been on your mind today."),
)
_OTHERWISE = "Please go on. What does that suggest to you, and why does it come up now?"
_MIRROR = {"my": "your", "me": "you", "i": "you", "am": "are", "your": "my", "you": "I", "myself": "yourself"}


def reply(question: str) -> str:
    """Return the answer to a question: the same one each time."""
    said = question.strip().rstrip(".!?")
    for pattern, answer in _REPLIES:
        found = re.search(pattern, said, re.IGNORECASE)
        if found is not None:
            words = [_MIRROR.get(word.lower(), word) for word in found[1].split()]
            return answer.replace("{}", " ".join(words))
    return _OTHERWISE
