"""The code that *From Attention to BERT* explains.

One idea, one module, in reading order: attention. The chapters of the book show these
definitions cell by cell; a test keeps the two equal.
"""
