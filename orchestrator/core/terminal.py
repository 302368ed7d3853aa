"""Text from outside, made fit for a person's terminal."""

from __future__ import annotations

import re

#: Whole sequences that a terminal would obey. What is hidden in them (titles, links, clipboard contents) goes too. No
#: repetition can run past the character that begins the next sequence, so the search never goes over text twice.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, moves, modes
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n\x80-\x9b\x9d-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, ...
    r"|\x1b[ -/][0-~]"  # character sets and the like
)
#: C0 but for newline and tab, DEL, C1; marks that turn the direction of writing; other ends of line; half characters.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text without anything that a terminal would obey, except newlines and tabs.

    Well-formed escape sequences are left out, any other control character is shown as a sign of its own, so nothing
    written can be hidden or moved by what stands beside it.
    """
    if text.isascii() and text.isprintable():
        return text
    return _OBEYED.sub(_sign, _SEQUENCES.sub("", text.replace("\r\n", "\n")))


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures of C0, such as ␛
    if code == 0x7F:
        return "␡"
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"<U+{code:04X}>"
