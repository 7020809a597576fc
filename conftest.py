"""Settings for the whole test run; the kernels that nbval starts inherit them."""

import os

import pytest

from tools.notebooks import OFFLINE

# `make notebooks` runs with hash seed 0: an output that hangs on the order of a set differs here.
os.environ.update(OFFLINE, PYTHONHASHSEED="1")
os.environ.pop("MPLBACKEND", None)  # else a notebook's figures stay out of sight


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all files of a process: playwright cannot be started twice in one."""
    from playwright.sync_api import sync_playwright

    from tests.test_browser import FLAGS, chromium

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()
