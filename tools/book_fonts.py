"""The book's own faces: subset at build time out of installed packages, under free licences.

Text is set in Source Sans, headings in Source Serif, code in DejaVu Sans Mono. A part of them must
not bear the reserved name "Source", so they are called Book Sans, Book Serif and Book Mono. Book
Rest has every other sign that a page shows; in ``book.css`` it ends the own faces of each list of
families, before the system's, which set Chinese alone.
"""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SANS = ("font-source-sans-pro", "font_source_sans_pro/files/SourceSansPro-")
SERIF = ("font-source-serif-pro", "font_source_serif_pro/files/SourceSerifPro-")
DEJAVU = ("matplotlib", "matplotlib/mpl-data/fonts/ttf/")
LICENCES = {
    "source-sans.txt": (SANS[0], "font_source_sans_pro/files/LICENSE.txt"),
    "source-serif.txt": (SERIF[0], "font_source_serif_pro/files/LICENSE.txt"),
    "dejavu.txt": (DEJAVU[0], f"{DEJAVU[1]}LICENSE_DEJAVU"),
}
TOOLS = (("fonttools", "fontTools"), ("brotli", "brotli.py"))

# Code points in hexadecimal; a face gives those of them that its font has.
LATIN = "20-7E A0-FF 2010-203A 20AC 2122 2190 2192 2212 2260 2264-2265"
EUROPE = f"{LATIN} 100-17F 391-3C9"
SIGNS = """2070-208E 2191 2193-2195 21A6 21D0-21D4 2200 2202-2205 2208-2209 2211 2219-221A
    221D-221E 2227-222B 223C 2248 2282-2287 2295 2297 22A4-22A5 22C5 2318 2423 2500-2502 250C 2510
    2514 2518 251C 2524 2588 2591-2593 25A0-25A1 25B2 25B6-25B7 25BC 25CB 25CF 2603 2605 2610-2612
    2713-2717"""
WIDER = f"""{EUROPE} {SIGNS} 2C6-2DD 300-304 308 30A-30C 313 323 327-328 401-45F 1E9E 1EA0-1EF9
    FB01"""
SCRIPTS = "300-362 5B0-5EA 621-652 1D2C-1D6A"
FEATURES = "ccmp fina init kern lnum locl mark medi mkmk rlig tnum"

# Han, kana, hangul with their punctuation and full-width forms, and pictures: the system's.
SYSTEM = re.compile(
    "[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\ufe0f\ufe30-\ufe4f\uff00-\uffef"
    "\U0001f000-\U0001faff\U00020000-\U0003ffff]"
)
# Examples of what hardly a font has (a rune, two medieval marks, a private character), and what
# is never drawn (ends of lines, spaces of no width, marks of direction).
UNCOVERED = "\u16a0\u036a\u036b\ue000\n\r\t\u200b\u200d\u202c\u202e\ufeff"


class Face(NamedTuple):
    """One file: its family, weights and style as CSS writes them, and what it is made of."""

    family: str
    weight: str
    style: str
    package: tuple[str, str]
    font: str
    ranges: str

    @property
    def adjust(self) -> int:
        """Its size in percent: Source Sans is drawn small beside the faces of screens."""
        return 106 if self.package == SANS else 100


PLAIN = Face("Book Sans", "400", "normal", SANS, "Regular.ttf", WIDER)
REST = Face(
    "Book Rest", "400", "normal", DEJAVU, "DejaVuSans.ttf", f"{SIGNS} {SCRIPTS}"
)
FACES = (
    PLAIN,
    Face("Book Sans", "600 900", "normal", SANS, "Semibold.ttf", EUROPE),
    Face("Book Sans", "400", "italic", SANS, "It.ttf", EUROPE),
    Face("Book Sans", "600 900", "italic", SANS, "SemiboldIt.ttf", LATIN),
    Face("Book Serif", "400", "normal", SERIF, "Regular.ttf", LATIN),
    Face("Book Serif", "600 900", "normal", SERIF, "Semibold.ttf", LATIN),
    Face("Book Serif", "400", "italic", SERIF, "It.ttf", LATIN),
    Face("Book Mono", "400", "normal", DEJAVU, "DejaVuSansMono.ttf", WIDER),
    Face("Book Mono", "600 900", "normal", DEJAVU, "DejaVuSansMono-Bold.ttf", LATIN),
    REST,
)


def write_fonts(folder: Path, find: Callable[[str, str], Path]) -> None:
    """Write the faces, their licences and ``fonts.css`` into a folder, unless they are there.

    ``find`` gives the place of a distribution's file; what else the folder holds is removed.
    """
    for tool in TOOLS:
        find(*tool)
    sources = {
        face: find(face.package[0], face.package[1] + face.font) for face in FACES
    }
    files = {name: find(*place).read_bytes() for name, place in LICENCES.items()}
    made_of = hashlib.sha256(Path(__file__).read_bytes())
    for path in sources.values():
        made_of.update(path.read_bytes())
    rules = [f"/* made of {made_of.hexdigest()[:16]} */"]
    sheet = folder / "fonts.css"
    if sheet.is_file() and sheet.read_text("utf-8").startswith(rules[0]):
        return
    plain: set[int] = set()
    for face, path in sources.items():
        wanted = code_points(face.ranges) - (plain if face is REST else set())
        data, codes = part_of(path, face.family, wanted)
        stem = f"{face.family}-{face.weight[:3]}-{face.style}".lower().replace(" ", "-")
        name = f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}.woff2"
        files[name] = data
        rules.append(rule(face, name, codes if face is REST else None))
        # Plain text's face has most signs: by a second name it is part of the rest for all.
        if face is PLAIN:
            plain = codes
            rules.append(rule(face._replace(family=REST.family), name, codes))
    files[sheet.name] = "\n".join(rules).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def part_of(path: Path, family: str, codes: set[int]) -> tuple[bytes, set[int]]:
    """Return the part of a font with the given characters, as WOFF2, and those it has."""
    from fontTools import subset  # takes a moment, and a rebuild does without

    options = subset.Options(
        flavor="woff2", hinting=False, layout_features=FEATURES.split()
    )
    options.drop_tables += ["FFTM"]
    options.name_IDs = [0, 13, 14]  # copyright and licence
    file = io.BytesIO()
    with subset.load_font(path, options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=codes)
        subsetter.subset(font)
        names = font["name"]
        for number in (1, 3, 4, 6):
            name = family.replace(" ", "") if number == 6 else family
            names.setName(name, number, 3, 1, 0x409)
        subset.save_font(font, file, options)
        return file.getvalue(), set(font.getBestCmap())


def rule(face: Face, address: str, codes: set[int] | None = None) -> str:
    """Return the ``@font-face`` of a file, for the given code points if not for all."""
    parts = [
        f'font-family: "{face.family}"; font-weight: {face.weight}',
        f"font-style: {face.style}; font-display: block; size-adjust: {face.adjust}%",
        f'src: url("{address}") format("woff2")',
    ]
    if codes is not None:
        starts = [code for code in sorted(codes) if code - 1 not in codes]
        ends = [code for code in sorted(codes) if code + 1 not in codes]
        ranges = [f"U+{a:X}-{b:X}" for a, b in zip(starts, ends, strict=True)]
        parts.append(f"unicode-range: {', '.join(ranges)}")
    return f"@font-face {{ {'; '.join(parts)} }}"


def code_points(ranges: str) -> set[int]:
    """Return the code points of ranges in hexadecimal, such as ``20-7E A0``."""
    ends = [[int(end, 16) for end in part.split("-")] for part in ranges.split()]
    return {code for pair in ends for code in range(pair[0], pair[-1] + 1)}


def uncovered(text: str, css: str) -> list[str]:
    """Return what a page or script shows and no face of a ``fonts.css`` has, Chinese apart."""
    shown = set(text)
    for name in set(re.findall(r"&(?:amp;)*(#?\w+;)", text)):
        shown.update(html.unescape(f"&{name}"))
    for escapes in set(re.findall(r"(?:\\u[0-9a-fA-F]{4})+", text)):
        shown.update(json.loads(f'"{escapes}"'))
    ranges = " ".join(re.findall(r"U\+([\dA-F]+-[\dA-F]+)", css))
    shown -= {*UNCOVERED, *map(chr, code_points(ranges))}
    left = [each for each in shown if not SYSTEM.match(each)]
    return sorted(each for each in left if not "\ud800" <= each <= "\udfff")


def own_face(svg: str, folder: Path) -> str:
    """Return a drawing with the face of plain text in it: an image cannot load one."""
    if "@font-face" in svg:
        return svg
    (path,) = folder.glob("book-sans-400-normal-*.woff2")
    data = base64.b64encode(path.read_bytes()).decode()
    face = rule(PLAIN, f"data:font/woff2;base64,{data}")
    style = f'<style>{face} svg {{ font-family: "Book Sans", sans-serif }}</style>'
    return re.sub(r"<svg[^>]*>", lambda start: start[0] + style, svg, count=1)
