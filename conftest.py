"""Settings for the whole test run; the kernels that nbval starts inherit them."""

import os

from xdist.scheduler import LoadScopeScheduling

from tools.notebooks import OFFLINE

# `make notebooks` runs with hash seed 0: an output that hangs on the order of a set differs here.
os.environ.update(OFFLINE, PYTHONHASHSEED="1")
os.environ.pop("MPLBACKEND", None)  # else a notebook's figures stay out of sight

# Two processes share the tests. A file stays whole: a notebook's cells need one kernel, a module's
# tests share what they set up. The files that take longest begin, or one process waits in the end
# for the other; what is cut finely, each test for itself, comes last and fills the gaps.
FIRST = (
    "book/q2_transformer/training.ipynb",
    "book/q4_pretraining/masking.ipynb",
    "book/prerequisites/word_embeddings.ipynb",
    "book/q3_bert_input/wordpiece.ipynb",
    "book/q1_attention/multi_head.ipynb",
    "book/q2_transformer/encoder.ipynb",
    "book/",
    "tests/pretraining/test_loop.py",
    "tests/studies/test_mask_ablation.py",
    "tests/experiments/test_verses.py",
    "tests/tools/test_live_model.py",
    "tests/experiments/test_fine_tuning.py",
    "tests/tools/test_notebooks.py",
    "tests/",
)
CUT_FINELY = "tests/browser/"


def pytest_collection_modifyitems(items):
    """Put the tests into that order."""

    def place(item):
        file = _file(item.nodeid)
        found = (i for i, start in enumerate(FIRST) if file.startswith(start))
        return len(FIRST) if file.startswith(CUT_FINELY) else next(found, len(FIRST))

    items.sort(key=place)


class ByFile(LoadScopeScheduling):
    """Hands a process a file at a time, or a test where files are cut finely."""

    def _split_scope(self, nodeid):
        file = _file(nodeid)
        return nodeid if file.startswith(CUT_FINELY) else file


def pytest_xdist_make_scheduler(config, log):
    """Tell pytest-xdist how to share the tests."""
    return ByFile(config, log)


def _file(nodeid):
    return nodeid.split("::")[0]
