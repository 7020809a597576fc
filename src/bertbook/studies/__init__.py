"""What only the experiments use: rules of comparison, probes, and the models to be beaten.

Rules: ``transformer_ablation`` (chapter *Training a Transformer*), ``mask_ablation`` (*The mix,
measured*). Probes: ``mask_probes``, ``letter_models`` (*The masking strategy*), ``layer_change``
(*Fine-tuning*). Rivals: ``mlm_baselines``, ``lstm_translator``, ``verses_translator``.
"""
