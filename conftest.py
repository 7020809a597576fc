"""Settings for the whole test run; the kernels that nbval starts inherit them."""

import os

from tools.notebooks import OFFLINE

# `make notebooks` runs with hash seed 0: an output that hangs on the order of a set differs here.
os.environ.update(OFFLINE, PYTHONHASHSEED="1")
os.environ.pop("MPLBACKEND", None)  # else a notebook's figures stay out of sight
