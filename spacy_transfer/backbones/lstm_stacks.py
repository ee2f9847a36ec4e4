"""LSTMs that read a doc from its beginning and from its end: torch's own, or two stacks that never mix."""

import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence


class LSTMStacks(torch.nn.Module):
    """A forward and a backward LSTM. No layer of one reads the rows of the other (ELMo, Peters et al. 2018); torch's
    bidirectional LSTM mixes both directions from its second layer on.

    n_inputs (int): Width of the rows that it reads.
    hidden_size (int): Width of the rows of each stack.
    num_layers (int): Layers of each stack.
    dropout (float): Between layers in training.
    """

    def __init__(self, n_inputs: int, *, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.forward_lstm = torch.nn.LSTM(n_inputs, hidden_size, num_layers, dropout=dropout)
        self.backward_lstm = torch.nn.LSTM(n_inputs, hidden_size, num_layers, dropout=dropout)

    def forward(self, docs: PackedSequence) -> tuple[PackedSequence, None]:
        """RETURNS (Tuple[PackedSequence, None]): The rows of both stacks side by side, as torch's LSTM gives them."""
        ahead = unpack_sequence(self.forward_lstm(docs)[0])
        turned = pack_sequence([rows.flip(0) for rows in unpack_sequence(docs)], enforce_sorted=False)
        back = [rows.flip(0) for rows in unpack_sequence(self.backward_lstm(turned)[0])]
        both = [torch.cat(pair, dim=1) for pair in zip(ahead, back, strict=True)]
        return pack_sequence(both, enforce_sorted=False), None
