"""Recurrent networks: the vanilla cell, the LSTM cell, and both of them over a sequence.

Shapes:

    B batch   T steps of the sequence   D width of an input   U units, the width of the state

Parameters have the names, the shapes and the order of the gates of ``nn.RNNCell`` and
``nn.LSTMCell``, so that weights can be copied from the library and back.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = [
    "LSTM",
    "RNN",
    "LSTMCell",
    "RNNCell",
    "RecurrentCell",
    "check_tensor",
    "copy_weights",
]


def check_tensor(
    name: str, tensor: Tensor, expected: dict[str, int | None], weight: Tensor
) -> None:
    """Refuse a tensor that a recurrent layer cannot take, naming what is wrong.

    Args:
        name: what the tensor is called in the message.
        tensor: the tensor to look at.
        expected: the dimensions in order, each letter with its size; ``None``: any size.
        weight: a weight of the layer, whose type the tensor must have.

    Raises:
        TypeError: if the tensor's type is not the weight's.
        ValueError: if the tensor's shape is not the expected one.
    """
    sizes = expected.values()
    if tensor.dim() != len(expected) or any(
        size not in (None, found)
        for size, found in zip(sizes, tensor.shape, strict=True)
    ):
        shape = ", ".join(
            letter if size is None else f"{letter}={size}"
            for letter, size in expected.items()
        )
        raise ValueError(f"{name} must have shape [{shape}], got {list(tensor.shape)}")
    if tensor.dtype != weight.dtype:
        raise TypeError(
            f"{name} must be {weight.dtype} like the weights, got {tensor.dtype}"
        )


class RecurrentCell(nn.Module):
    """The parameters of a cell, and the one affine map that every cell begins with.

    Args:
        input_size: D.
        hidden_size: U.
        num_blocks: how many vectors of width U the map makes: 1 in a vanilla cell, 4 in an LSTM.

    Weights and biases are drawn uniformly from ±1/√U, as the library draws them.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(self, input_size: int, hidden_size: int, num_blocks: int):
        super().__init__()
        for name, size in {
            "input_size": input_size,
            "hidden_size": hidden_size,
        }.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        rows = num_blocks * hidden_size
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))
        for parameter in self.parameters():
            nn.init.uniform_(
                parameter, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size)
            )

    def affine(self, x: Tensor, h: Tensor) -> Tensor:
        """Mix the input and the last state: ``W_x x + b_x + W_h h + b_h``.

        Args:
            x: ``[B, D]``.
            h: ``[B, U]``.

        Returns:
            ``[B, num_blocks · U]``.

        Raises:
            TypeError: if ``x`` or ``h`` is not of the weights' type.
            ValueError: if the shape of ``x`` or ``h`` is wrong.
        """
        check_tensor("x", x, {"B": None, "D": self.input_size}, self.weight_ih)
        check_tensor("h", h, {"B": len(x), "U": self.hidden_size}, self.weight_hh)
        from_input = linear(x, self.weight_ih, self.bias_ih)
        return from_input + linear(h, self.weight_hh, self.bias_hh)

    def initial_state(self, inputs: Tensor) -> Tensor:
        """Return zeros ``[B, U]`` to begin with, after a look at the inputs ``[B, T, D]``.

        Raises:
            TypeError: if the inputs are not of the weights' type.
            ValueError: if their shape is wrong or they have no step.
        """
        shape = {"B": None, "T": None, "D": self.input_size}
        check_tensor("inputs", inputs, shape, self.weight_ih)
        if inputs.shape[1] == 0:
            raise ValueError("inputs must have at least one step, got T = 0")
        return inputs.new_zeros(len(inputs), self.hidden_size)


class RNNCell(RecurrentCell):
    """One step of a vanilla RNN: ``h' = tanh(W_x x + b_x + W_h h + b_h)``.

    Args:
        input_size: D.
        hidden_size: U.
        activation: what stands in place of tanh, such as ``torch.relu``. The identity
            ``lambda a: a`` makes a linear network, to compare with.

    Source: Elman 1990; as in ``nn.RNNCell``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
    ):
        super().__init__(input_size, hidden_size, num_blocks=1)
        self.activation = activation

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Take one step.

        Args:
            x: input ``[B, D]``.
            h: last state ``[B, U]``.

        Returns:
            The next state ``[B, U]``.

        Raises:
            TypeError: as :meth:`RecurrentCell.affine`.
            ValueError: likewise.
        """
        return self.activation(self.affine(x, h))  # [B, U]


class LSTMCell(RecurrentCell):
    """One step of an LSTM: gates decide what the cell state keeps, takes in and shows.

    Args:
        input_size: D.
        hidden_size: U.
        forget_bias: what the forget gate's two biases add up to at the start, in every unit;
            ``None`` leaves them as drawn, like the library's: in ±2/√U, about a mean of 0.

    The rows of the weights are four blocks of U, in the library's order: input gate, forget gate,
    candidate, output gate.

    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; the forget
    bias: Jozefowicz et al. 2015.
    """

    def __init__(
        self, input_size: int, hidden_size: int, forget_bias: float | None = None
    ):
        super().__init__(input_size, hidden_size, num_blocks=4)
        if forget_bias is not None:
            forget = slice(hidden_size, 2 * hidden_size)
            nn.init.constant_(self.bias_ih[forget], forget_bias)
            nn.init.zeros_(self.bias_hh[forget])

    def gates(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the gates and the candidate from the input and the last state.

        Args:
            x: input ``[B, D]``.
            h: last hidden state ``[B, U]``.

        Returns:
            Input gate, forget gate, candidate, output gate, each ``[B, U]``: gates in (0, 1), the
            candidate in (-1, 1).

        Raises:
            TypeError: as :meth:`RecurrentCell.affine`.
            ValueError: likewise.
        """
        i, f, g, o = self.affine(x, h).chunk(4, dim=-1)  # 4 × [B, U]
        return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Take one step.

        Args:
            x: input ``[B, D]``.
            state: last hidden state and last cell state, ``[B, U]`` each.

        Returns:
            The next hidden state and the next cell state, ``[B, U]`` each.

        Raises:
            TypeError: as :meth:`RecurrentCell.affine`.
            ValueError: likewise.
        """
        h, c = state
        check_tensor("c", c, {"B": len(x), "U": self.hidden_size}, self.weight_hh)
        i, f, g, o = self.gates(x, h)
        c = f * c + i * g  # [B, U]
        h = o * c.tanh()  # [B, U]
        return h, c


class RNN(nn.Module):
    """A vanilla RNN over a sequence, one step after the other.

    Args:
        input_size: D.
        hidden_size: U.
        activation: as in :class:`RNNCell`.

    Equals ``nn.RNN`` with one layer and ``batch_first=True``; states have no leading 1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
    ):
        super().__init__()
        self.cell = RNNCell(input_size, hidden_size, activation)

    def forward(self, inputs: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read a batch of sequences.

        Args:
            inputs: ``[B, T, D]``.
            h: the state before the first step ``[B, U]``; ``None``: zeros.

        Returns:
            The states after every step ``[B, T, U]``, and the last one ``[B, U]``.

        Raises:
            TypeError: if ``inputs`` or ``h`` is not of the weights' type.
            ValueError: if a shape is wrong or there is no step.
        """
        zeros = self.cell.initial_state(inputs)
        h = zeros if h is None else h
        states = []
        for x in inputs.unbind(1):  # T × [B, D]
            h = self.cell(x, h)  # [B, U]
            states.append(h)
        return torch.stack(states, 1), h  # [B, T, U], [B, U]


class LSTM(nn.Module):
    """An LSTM over a sequence, one step after the other.

    Args:
        input_size: D.
        hidden_size: U.
        forget_bias: as in :class:`LSTMCell`.

    Equals ``nn.LSTM`` with one layer and ``batch_first=True``; states have no leading 1.
    """

    def __init__(
        self, input_size: int, hidden_size: int, forget_bias: float | None = None
    ):
        super().__init__()
        self.cell = LSTMCell(input_size, hidden_size, forget_bias)

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read a batch of sequences.

        Args:
            inputs: ``[B, T, D]``.
            state: hidden and cell state before the first step, ``[B, U]`` each; ``None``: zeros.

        Returns:
            The hidden states after every step ``[B, T, U]``, and the last hidden and cell state,
            ``[B, U]`` each.

        Raises:
            TypeError: if ``inputs`` or a state is not of the weights' type.
            ValueError: if a shape is wrong or there is no step.
        """
        zeros = self.cell.initial_state(inputs)
        h, c = (zeros, zeros) if state is None else state
        states = []
        for x in inputs.unbind(1):  # T × [B, D]
            h, c = self.cell(x, (h, c))  # [B, U] each
            states.append(h)
        return torch.stack(states, 1), (h, c)  # [B, T, U], ([B, U], [B, U])


def copy_weights(source: nn.RNN | nn.LSTM, target: RNN | LSTM) -> None:
    """Copy the weights of a library's layer into one of this module.

    Args:
        source: ``nn.RNN`` or ``nn.LSTM`` of one layer, one direction and with biases.
        target: an :class:`RNN` or :class:`LSTM` of the same sizes. Its activation stays.

    Raises:
        ValueError: if the source has not the target's parameters, or they differ in shape.
    """
    ours = dict(target.cell.named_parameters())
    theirs = {
        name.removesuffix("_l0"): value for name, value in source.named_parameters()
    }
    if list(ours) != list(theirs):
        raise ValueError(
            f"the source must have the parameters {list(ours)} in one layer, got {list(theirs)}"
        )
    for name, parameter in ours.items():
        if parameter.shape != theirs[name].shape:
            raise ValueError(
                f"{name} must have shape {list(parameter.shape)} for {type(target).__name__}, "
                f"got {list(theirs[name].shape)} from {type(source).__name__}"
            )
    with torch.no_grad():
        for name, parameter in ours.items():
            parameter.copy_(theirs[name])
