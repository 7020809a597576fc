"""Question 1: attention, and several attentions side by side.

Reading order: :mod:`~bertbook.attention.scores` (scores, masks, softmax, the weighted mean; chapter
*Attention*), :mod:`~bertbook.attention.multi_head` (*Multi-head attention*),
:mod:`~bertbook.attention.recall` and :mod:`~bertbook.attention.associative_recall` (the tasks of
*Attention against the RNN*).
"""
