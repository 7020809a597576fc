"""What only the experiments use: rules of comparison, probes, and the models to be beaten.

Rules: ``comparison``, and by it ``transformer_ablation`` (chapter *Training a Transformer*) and
``mask_ablation`` (*The mix, measured*). Measures: ``metrics``, ``pretraining_measures``
(*Pre-training*). Probes: ``mask_probes``, ``letter_models`` (*The masking strategy*),
``layer_change`` (*Fine-tuning*). Rivals: ``mlm_baselines``, ``task_baselines``,
``lstm_translator``, ``verses_translator``.
"""
