"""The code that *From Attention to BERT* explains, a folder a part of the book.

Imports run down this list, never up: ``shared``, ``attention``, ``prerequisites``,
``transformer``, ``tokenizer``, ``corpora``, ``bert``, ``pretraining``, ``fine_tuning``,
``studies``, ``exercises``. The chapters show these definitions cell by cell; a test keeps both
equal.
"""
