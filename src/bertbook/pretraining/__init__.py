"""Question 4, first half: what is masked, what is predicted, and how it is trained.

Reading order: :mod:`~bertbook.pretraining.masking` (chapter *The masking strategy*), then for
*Pre-training* ``sentence_pairs``, ``heads``, ``optimizer``, ``data``, ``loop``, ``processes``,
``export``, ``cli`` (the program), ``mini_bert``, ``low_rank`` and ``fill_mask``.
"""
