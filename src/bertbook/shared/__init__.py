"""What every part uses and no chapter explains.

``checks`` (what is refused), ``symbols`` (PAD, BEGIN, END), ``training`` (the training loop),
``experiment`` and ``results`` (the runner of the experiments and its records), ``files`` (expected
files), ``plots`` (the figures), ``bertviz`` and ``bertviz_page`` (bertviz's views, offline).
"""
