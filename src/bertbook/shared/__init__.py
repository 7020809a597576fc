"""What every part uses and no chapter explains.

``checks`` (what is refused), ``symbols`` (PAD, BEGIN, END), ``training`` (the training loop),
``results`` (the record of an experiment), ``files`` (expected files), ``plots`` (the figures),
``bertviz`` and ``bertviz_page`` (bertviz's views, offline).
"""
