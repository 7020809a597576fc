"""What several folders of tests share, once a process: the browser and the live model."""

import pytest

from bertbook.pretraining.mini_bert import load_mini_bert
from experiments.live_quantisation import load_quantised
from tests.browser.visits import FLAGS, SIZES, Visit, chromium


def pytest_collection_modifyitems(items):
    """Mark what opens a browser: `make check` goes without."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser():
    """One Chromium: playwright cannot be started twice in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Begins a visit with an empty cache and storage; takes a home and the context's options."""
    visits = []

    def begin(home, **options):
        context = browser.new_context(**{"viewport": SIZES["desk"]} | options)
        visits.append(Visit(context.new_page(), home))
        return visits[-1]

    yield begin
    for seen in visits:
        seen.close()
        seen.page.context.close()


@pytest.fixture(scope="session")
def python():
    """The committed model, the one that the browser has, and the tokenizer."""
    model, tokenizer = load_mini_bert()
    return model, load_quantised(), tokenizer
