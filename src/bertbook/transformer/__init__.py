"""Question 2: the Transformer, encoder and decoder separately, and how it writes.

Reading order: :mod:`~bertbook.transformer.encoder` (chapter *The encoder*),
:mod:`~bertbook.transformer.decoder` and :mod:`~bertbook.transformer.generation` (*The decoder*),
:mod:`~bertbook.transformer.translation` (*Training a Transformer*).
"""
