"""Low-rank adapters: the change of a trained matrix is the product of two thin matrices.

I input width   O output width   R rank
"""

import torch
from torch import Tensor, nn

__all__ = ["LowRank", "add_adapters", "merge_adapters"]


class LowRank(nn.Module):
    """A frozen linear map W and the two trained matrices of its change: W + up · down.

    ``up`` starts at zero, so at first nothing changes.

    Args:
        linear: the map; its parameters are frozen.
        rank: R.

    Raises:
        ValueError: if R is not in 1..min(I, O).

    Source: Hu et al. 2022, section 4.1, here without the factor on the change.
    """

    def __init__(self, linear: nn.Linear, rank: int):
        super().__init__()
        widest = min(linear.in_features, linear.out_features)
        if not 1 <= rank <= widest:
            raise ValueError(f"rank must lie in 1..{widest}, got {rank}")
        self.linear = linear.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))  # [R, I]
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))  # [O, R]
        nn.init.normal_(self.down, std=linear.in_features**-0.5)

    def forward(self, states: Tensor) -> Tensor:
        """From ``[..., I]`` to ``[..., O]``; the product of the two is never formed."""
        return self.linear(states) + (states @ self.down.T) @ self.up.T


def add_adapters(model: nn.Module, rank: int) -> None:
    """Freeze a model and replace each linear map in it by a :class:`LowRank` of rank R.

    Args:
        model: it is changed.
        rank: R.

    Raises:
        ValueError: as :class:`LowRank`.
    """
    model.requires_grad_(False)
    for module in [m for m in model.modules() if not isinstance(m, LowRank)]:
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, LowRank(child, rank))


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Add the change of each :class:`LowRank` to its matrix, and put the linear map back."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LowRank):
                child.linear.weight += child.up @ child.down  # [O, I]
                setattr(module, name, child.linear)
