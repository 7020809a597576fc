"""Question 4, second half: a pre-trained BERT with a new head.

Reading order: :mod:`~bertbook.fine_tuning.heads` (the forms of chapter *Fine-tuning*), then
:mod:`~bertbook.fine_tuning.task_data` (from examples to batches and back to a score).
"""
