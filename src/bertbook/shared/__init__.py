"""What every part uses and no chapter explains.

``checks`` (what is refused), ``symbols`` (PAD, BEGIN, END), ``training`` (the training loop),
``results`` (the record of an experiment), ``plots`` (the figures), ``bertviz`` (its views,
offline).
"""
