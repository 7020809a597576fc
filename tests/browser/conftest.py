"""What the tests of pages and figures share, for all files of a process."""

import pytest

from tests.browser.figures import FIGURES, Hand, MouseHand, opening
from tests.browser.visits import TYPESET, serve
from tools import page_checks
from tools.page_checks import SITE


@pytest.fixture(scope="session")
def address():
    """The book on a server."""
    page_checks.read("index.html")  # says how to build the book where it is missing
    with serve(SITE) as address:
        yield address


@pytest.fixture(scope="session")
def home():
    """The book under an address with a folder in it."""
    with serve(SITE.parent) as address:
        yield f"{address}{SITE.name}/"


@pytest.fixture
def figure(visit, home):
    """Opens a figure's page; returns the visit and the figure, which is not on the screen yet.

    A chapter's formulas take longer than its figures: they are left out unless they are asked for.
    """

    def open_page(name, address=home, fragment="", formulas=False, **options):
        seen = visit(address, **{"color_scheme": "light"} | options)
        if not formulas:
            seen.page.route("**/mathjax/startup.js*", without_formulas)
        seen.page.goto(address + FIGURES[name] + fragment, timeout=120_000)
        if formulas:
            seen.page.evaluate(TYPESET)
        return seen, seen.page.locator(f"live-{name}")

    return open_page


WITHOUT_FORMULAS = """
MathJax.startup = { promise: Promise.resolve() };
document.head.insertAdjacentHTML("beforeend", "<style>.math { display: none !important; }</style>");
"""


def without_formulas(route):
    """In the place of MathJax: nothing is typeset, and what would be is out of the way."""
    route.fulfill(body=WITHOUT_FORMULAS, content_type="text/javascript")


@pytest.fixture(params=["keys: desk, light, server", "mouse: phone, dark, folder"])
def used(figure, request):
    """Opens a figure in one of two ways that have nothing alike; returns the hand as well."""
    hand, way = request.param.split(": ")

    def open_page(name):
        hands = {"keys": Hand, "mouse": MouseHand}
        return *figure(name, **opening(way)), hands[hand]()

    return open_page
