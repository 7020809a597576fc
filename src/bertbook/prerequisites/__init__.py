"""What the four questions rest on: word vectors, recurrence, and recurrent translation.

Reading order: :mod:`~bertbook.prerequisites.word2vec` (chapter *Word embeddings*),
:mod:`~bertbook.prerequisites.recurrent` (*RNN and LSTM*), :mod:`~bertbook.prerequisites.seq2seq`
(*Sequence to sequence*, which uses the attention of question 1).
"""
