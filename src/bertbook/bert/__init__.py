"""Question 3: BERT's input and structure, and real weights in it.

Reading order: :mod:`~bertbook.bert.config`, :mod:`~bertbook.bert.inputs` (chapter *The input of
BERT*), :mod:`~bertbook.bert.model` (*BERT's structure*), :mod:`~bertbook.bert.loading` and
:mod:`~bertbook.bert.minilm` (*Inside a BERT*).
"""
