"""How BERT's weights are updated: weight decay and the learning rate over time."""

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["decay_groups", "decays", "warmup_and_linear_decay"]


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies to a parameter: to matrices and tables, not to vectors.

    Biases and LayerNorm's gains are vectors. They are few, and decay would pull a gain away from 1,
    where it starts.

    Args:
        name: of the parameter; not used here.
        parameter: of any shape.

    Source: the code released with Devlin et al. 2019.
    """
    return parameter.dim() > 1


def decay_groups(model: nn.Module) -> list[dict]:
    """A model's parameters for AdamW in two groups: with decay (see :func:`decays`), without."""
    decayed, spared = [], []
    for name, parameter in model.named_parameters():
        (decayed if decays(name, parameter) else spared).append(parameter)
    return [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]


def warmup_and_linear_decay(warmup: int, steps: int) -> Callable[[int], float]:
    """Factors on the learning rate: linearly up to 1, then linearly down to zero.

    Args:
        warmup: w, steps until the factor is 1; 0: it is 1 from the start.
        steps: n, all steps of the training.

    Returns:
        A function from the step, counted from 0, to (step + 1) / w while that is below 1, then to
        (n - step) / (n - w). No step has factor 0.

    Raises:
        ValueError: if ``warmup`` is not in 0..``steps`` - 1; the returned function, if a step is
            not in 0..``steps`` - 1.

    Source: Devlin et al. 2019, appendix A.2.
    """
    if not 0 <= warmup < steps:
        raise ValueError(
            f"warmup must lie in 0..{steps - 1}, below the {steps} steps, got {warmup}"
        )

    def factor(step: int) -> float:
        if not 0 <= step < steps:
            raise ValueError(f"step must lie in 0..{steps - 1}, got {step}")
        if step < warmup:
            return (step + 1) / warmup
        return (steps - step) / (steps - warmup)

    return factor
