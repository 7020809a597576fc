"""Question 4, first half: what is hidden, what is predicted, and the training that does it.

Reading order: :mod:`~bertbook.pretraining.masking` (chapter *The masking strategy*), then for
*Pre-training* ``sentence_pairs``, ``heads``, ``optimizer``, ``data``, ``loop``, ``processes``,
``cli`` (the program), ``mini_bert``, ``low_rank`` and ``fill_mask``.
"""
