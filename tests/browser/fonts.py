"""A machine with one font, the Chinese one, and what a browser really sets a text in."""

import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from tools.book_fonts import SYSTEM, UNCOVERED

# As book.css asks for them; the system's own choice where none of them is installed.
CHINESE = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC")
CONFIG = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir>{rules}</fontconfig>
"""
# How letters are drawn (by fontconfig's convention): hinting decides how wide they are.
DRAWING = sorted(Path("/etc/fonts/conf.d").glob("1?-*.conf"))


def _lines(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in result.stdout.splitlines() if line.strip()]


def chinese_files():
    """The files of the Chinese font that the pages get."""
    for family in (
        *CHINESE,
        *_lines("fc-match", "-f", "%{family[0]}", "sans:lang=zh-cn"),
    ):
        if files := _lines("fc-list", "-f", "%{file}\n", f"{family}:lang=zh-cn"):
            return sorted({Path(file) for file in files})
    pytest.fail("no Chinese font found: install one (Debian: fonts-noto-cjk)")


def only_chinese(folder):
    """Writes a fontconfig file that knows the Chinese font and no other; returns its path."""
    fonts = folder / "fonts"
    fonts.mkdir()
    for file in chinese_files():
        (fonts / file.name).symlink_to(file)
    rules = "".join(f"<include>{escape(str(path))}</include>" for path in DRAWING)
    cache = escape(str(folder / "cache"))
    config = folder / "fonts.conf"
    config.write_text(CONFIG.format(fonts=escape(str(fonts)), cache=cache, rules=rules))
    return config


def set_by_the_system(page):
    """Texts of a page of which the system's faces set more than the Chinese.

    Shadow roots, form fields and frames count; what MathJax tells a screen reader does not.
    """
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument", {"depth": -1, "pierce": True})["root"]
    found = []
    for node in _text_nodes(root):
        fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node["nodeId"]})[
            "fonts"
        ]
        text = node["nodeValue"]
        allowed = sum(bool(SYSTEM.match(each)) or each in UNCOVERED for each in text)
        others = [font for font in fonts if not font["isCustomFont"]]
        if sum(font["glyphCount"] for font in others) > allowed:
            found.append(
                f"{text.strip()[:60]}: {[font['familyName'] for font in fonts]}"
            )
    session.detach()
    return found


def _text_nodes(node):
    if node["nodeName"] in ("MJX-ASSISTIVE-MML", "SCRIPT", "STYLE", "HEAD", "NOSCRIPT"):
        return
    if node["nodeType"] == 3 and node["nodeValue"].strip():
        yield node
    inside = [*node.get("children", ()), *node.get("shadowRoots", ())]
    for child in (*inside, *filter(None, [node.get("contentDocument")])):
        yield from _text_nodes(child)
