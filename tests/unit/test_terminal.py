"""What agents may print and a terminal must not obey."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("two\n\tlines", "two\n\tlines", id="newline and tab"),
        pytest.param("Größe 漢字 👩‍💻 é", "Größe 漢字 👩‍💻 é", id="other languages"),
        pytest.param("a\r\nb", "a\nb", id="lines of DOS"),
        pytest.param("\x1b[31mred\x1b[0m", "red", id="colour"),
        pytest.param("\x1b[2J\x1b[1;1Hgone", "gone", id="clear the screen"),
        pytest.param("\x1b[?1049h\x1b[>4;2m", "", id="modes"),
        pytest.param("\x9b31mred", "red", id="colour in one byte"),
        pytest.param("\x1b]0;title\x07x", "x", id="title"),
        pytest.param("\x1b]8;;http://a\x1b\\click\x1b]8;;\x1b\\", "click", id="link"),
        pytest.param("\x1b]52;c;aGVsbG8=\x07", "", id="clipboard"),
        pytest.param("\x9d0;title\x9cx", "x", id="title in one byte"),
        pytest.param("\x1bP1$r0m\x1b\\x", "x", id="device control"),
        pytest.param("\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\x", "x", id="other strings"),
        pytest.param("\x1b(0x", "x", id="character set"),
        pytest.param("\x1bc", "␛c", id="reset"),
        pytest.param("\x1b]0;never ends", "␛]0;never ends", id="a title that never ends"),
        pytest.param("\x1b]0;a\nb\x07", "␛]0;a\nb␇", id="a title over two lines hides nothing"),
        pytest.param("\x1b\x1b[m[31m", "␛[31m", id="a sequence that appears when another goes"),
        pytest.param("\x1b[31", "␛[31", id="cut off"),
        pytest.param("done\rfail", "done␍fail", id="writing over"),
        pytest.param("fail\x08\x08\x08\x08done", "fail␈␈␈␈done", id="backspace"),
        pytest.param("\x00\x07\x7f\x0b\x0c", "␀␇␡␋␌", id="controls"),
        pytest.param("\x85\x8d", "<U+0085><U+008D>", id="controls of the second kind"),
        pytest.param("a\u202etxt.exe", "a<U+202E>txt.exe", id="turned direction"),
        pytest.param("\u2066a\u2069\u200f\u061c", "<U+2066>a<U+2069><U+200F><U+061C>", id="isolates and marks"),
        pytest.param("a\u2028b", "a<U+2028>b", id="another end of line"),
        pytest.param("pass\u200bword\ufeff", "pass<U+200B>word<U+FEFF>", id="invisible"),
        pytest.param("caf\udce9", "caf\ufffd", id="a byte that is not UTF-8"),
    ],
)
def test_text_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown


controls = st.text(
    st.sampled_from("\x1b\x9b\x9d\x90\x9c\x07\x18\r\n\t[]();?0123mHJ\\PX^_ax\x7f\x85\u202e\u2066\ud800"), max_size=60
)


@given(controls | st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs")]
    assert not [c for c in shown if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")]
    assert printable(shown) == shown
    shown.encode()


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("\n\té漢")))
def test_text_without_controls_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("piece", ["\x1b[", "\x1b]", "\x1b]0;", "\x9b0;", "\x1bP", "\x1b[0;0;", "\x1b"])
def test_unfinished_sequences_are_read_in_one_pass(piece: str) -> None:
    text = piece * 100_000
    assert printable(text).count("\x1b") == 0
