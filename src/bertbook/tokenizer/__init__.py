"""Question 3, first half of the input: from text to the numbers of word pieces.

Reading order: :mod:`~bertbook.tokenizer.words`, :mod:`~bertbook.tokenizer.wordpiece`,
:mod:`~bertbook.tokenizer.learning` (chapter *WordPiece*), :mod:`~bertbook.tokenizer.packing`
(*The input of BERT*), :mod:`~bertbook.tokenizer.pieces` (labels and spans, for *Fine-tuning*).
"""
