import pytest
from PIL import ImageFont

from glus_hf.visualization.text import find_font, wrap_text


@pytest.mark.parametrize("text", ["der Hund, größer", "собака слева", "ο σκύλος", "pes, żółw, ağaç", "← 3 × 4 ≥ ½"])
def test_letters_are_letters(text, caplog):
    font = find_font(16, text)
    box = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
    for letter in set(text) - {" "}:
        assert (font.getmask(letter).getbbox(), bytes(font.getmask(letter))) != box
    assert not caplog.records


def test_letters_that_no_font_has_are_named(caplog, monkeypatch):
    monkeypatch.setattr("glus_hf.visualization.text._system_fonts", lambda: ())
    assert isinstance(find_font(16, "the 犬 runs \U00012000"), ImageFont.FreeTypeFont)
    assert len(caplog.messages) == 1 and "no font here has '犬\U00012000'" in caplog.messages[0]


def test_lines_fit():
    font = find_font(12, "x")
    lines = wrap_text("a label that says a lot " + "x" * 60, font, 100)
    assert len(lines) > 4 and all(font.getlength(line) <= 100 for line in lines)
