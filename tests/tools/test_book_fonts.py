"""The book's own faces: what they are made of, what they have, when they are made again."""

import base64
import io
import re

import pytest
from fontTools.ttLib import TTFont
from sphinx.errors import ExtensionError

from tools import book_fonts
from tools.book_extension import packaged_file
from tools.book_fonts import (
    FACES,
    LATIN,
    LICENCES,
    PLAIN,
    code_points,
    own_face,
    rule,
    uncovered,
    write_fonts,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "fonts"
    write_fonts(folder, packaged_file)
    return folder


@pytest.fixture(scope="module")
def css(folder):
    return (folder / "fonts.css").read_text("utf-8")


def fonts(folder):
    paths = sorted(folder.glob("*.woff2"))
    return {path.name: TTFont(io.BytesIO(path.read_bytes())) for path in paths}


def test_each_face_is_there_once_and_in_the_style_sheet(folder, css):
    made = fonts(folder)
    assert len(made) == len(FACES)
    assert set(re.findall(r'url\("([^"]+)"\)', css)) == set(made)
    assert css.count("@font-face") == len(FACES) + 1  # plain text's is in the rest too


def test_parts_keep_their_licence_but_not_the_reserved_name(folder):
    for font in fonts(folder).values():
        names = font["name"]
        assert names.getDebugName(1).startswith("Book ")
        assert all(
            "Source" not in names.getDebugName(number) for number in (1, 3, 4, 6)
        )
        assert re.search("Copyright|©|\\(c\\)", names.getDebugName(0))
        assert names.getDebugName(13)
    for name in LICENCES:
        assert len((folder / name).read_text("utf-8")) > 4000


def test_text_faces_have_latin_with_kerning(folder):
    quotes = set(map(ord, "Aé09“”‘’–—…−"))
    for name, font in fonts(folder).items():
        assert name.startswith("book-rest") or quotes <= set(font.getBestCmap())
        assert not name.startswith(("book-sans", "book-serif")) or "GPOS" in font


def test_digits_of_text_and_headings_line_up(folder):
    for name, font in fonts(folder).items():
        if name.startswith("book-s"):
            glyphs = [font.getBestCmap()[ord(digit)] for digit in "0123456789"]
            assert len({font["hmtx"][glyph][0] for glyph in glyphs}) == 1, name


@pytest.mark.slow
def test_the_same_again(folder, css, tmp_path, monkeypatch):
    write_fonts(tmp_path, packaged_file)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }
    monkeypatch.setattr(book_fonts, "part_of", pytest.fail)
    write_fonts(tmp_path, packaged_file)  # nothing has changed: nothing is made
    (tmp_path / "fonts.css").write_text("/* of another version */")
    (tmp_path / "left.woff2").touch()
    monkeypatch.setattr(book_fonts, "part_of", lambda *_: (b"part", {0x41}))
    write_fonts(tmp_path, packaged_file)
    assert not (tmp_path / "left.woff2").exists()


def test_missing_package_is_named(tmp_path):
    def find(distribution, path):
        return packaged_file(f"no-{distribution}", path)

    with pytest.raises(ExtensionError, match="the package no-fonttools, which is not"):
        write_fonts(tmp_path, find)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plain ‘text’, “quotes” — α ✓ ✗ ש ط …", []),
        ("编码器，「词」《书》。かな 한글 ＡＢ 👍🏽", []),
        ("\u200b\ue000", []),
        ("ሀ and ༀ", ["ༀ", "ሀ"]),
        ("&#x1200; &amp;#4608; &alpha;", ["ሀ"]),
        ('"\\u1200\\ud83d\\udc4d\\ud83d"', ["ሀ"]),
    ],
)
def test_character_without_a_face_is_named(css, text, expected):
    assert uncovered(text, css) == sorted(expected)


def test_code_points():
    assert code_points("20-22 A0") == {0x20, 0x21, 0x22, 0xA0}
    assert {ord("A"), ord("é"), ord("’")} <= code_points(LATIN)


def test_rule():
    assert rule(PLAIN, "a.woff2", {65, 66, 68}) == (
        '@font-face { font-family: "Book Sans"; font-weight: 400; font-style: normal;'
        ' font-display: block; size-adjust: 106%; src: url("a.woff2") format("woff2");'
        " unicode-range: U+41-42, U+44-44 }"
    )


def test_drawing_gets_its_face_once(folder):
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="9"><text>A</text></svg>'
    once = own_face(drawing, folder)
    data = re.search(r"base64,([\w+/=]+)", once)[1]
    (path,) = folder.glob("book-sans-400-normal-*")
    assert path.read_bytes() == base64.b64decode(data)
    assert own_face(once, folder) == once
    assert once.startswith('<svg xmlns="http://www.w3.org/2000/svg" width="9"><style>')
