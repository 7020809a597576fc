"""How BERT's weights are updated: what decays, and the course of the learning rate."""

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["decay_groups", "decays", "warmup_and_linear_decay"]


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay is for a parameter: for matrices and tables, not for what is added.

    Biases and LayerNorm's gains and biases are vectors; they are few, and pulling a gain towards
    zero would pull it away from the identity, where it starts.

    Args:
        name: of the parameter; it does not matter here.
        parameter: the parameter.

    Source: the code released with Devlin et al. 2019.
    """
    return parameter.dim() > 1


def decay_groups(model: nn.Module) -> list[dict]:
    """A model's parameters for AdamW: those that :func:`decays` names, and those it spares."""
    decayed, spared = [], []
    for name, parameter in model.named_parameters():
        (decayed if decays(name, parameter) else spared).append(parameter)
    return [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]


def warmup_and_linear_decay(warmup: int, steps: int) -> Callable[[int], float]:
    """Up in a line, then down in a line to zero: factors on the learning rate.

    Args:
        warmup: w, steps until the factor is 1; 0: it starts there.
        steps: n, all steps of the training.

    Returns:
        A function from the step, counted from 0, to (step + 1) / w while that is below 1, then to
        (n - step) / (n - w). No step has factor 0.

    Raises:
        ValueError: if ``warmup`` is not in 0..``steps`` - 1; the function, if a step is none of
            the training's.

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
