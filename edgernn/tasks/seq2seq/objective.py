"""The sequence-to-sequence task's loss with the true symbols fed, and the error rates of what a model writes itself."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.models.seq2seq import Seq2Seq
from edgernn.tasks.seq2seq.data import NO_TARGET, Batch, Seq2SeqData
from edgernn.tasks.seq2seq.error_rates import error_rates
from edgernn.tasks.task import Evaluation

_CHUNK: Final = 500
_MORE: Final = 3
"""How many times as many symbols as letters are written at most, and as many more."""


def batch_logits(model: Seq2Seq, batch: Batch) -> Tensor:
    """Return the logits `[batch, time, symbols]` where the decoder is fed the true symbols."""
    last, memory = model.encode(batch.source, batch.lengths)
    return model.decode(batch.fed, memory, model.initial(last))[0]


def nats(model: Seq2Seq, batch: Batch) -> Tensor:
    """Return the mean negative log-likelihood of a symbol, the token that ends included, in nats."""
    logits, targets = batch_logits(model, batch).flatten(0, 1), batch.targets.T.flatten()
    return functional.cross_entropy(logits, targets, ignore_index=NO_TARGET, reduction="sum") / batch.count


def evaluate(model: Seq2Seq, data: Seq2SeqData) -> Evaluation:
    """Return the loss in nats per symbol on all that is held out, and the error rates of greedy decoding on some."""
    total = right = count = 0.0
    for batch in data.held_out_batches(_CHUNK):
        logits, targets = batch_logits(model, batch).flatten(0, 1), batch.targets.T.flatten()
        total += float(functional.cross_entropy(logits, targets, ignore_index=NO_TARGET, reduction="sum"))
        right += float((logits.argmax(-1) == targets).sum())
        count += batch.count
    words = data.checked_words()
    written = write_greedily(model, data, words)
    rates = error_rates(zip(written, (data.held_out.spellings[word] for word in words), strict=True))
    return Evaluation(
        total / count,
        {"accuracy": right / count, "symbol_error_rate": rates.symbol, "word_error_rate": rates.word},
    )


def write_greedily(model: Seq2Seq, data: Seq2SeqData, words: Sequence[str]) -> list[list[str]]:
    """Return what a model writes for words, the likeliest symbol each time; what begins a word it never writes."""
    batch = data.collated(data.encoded((word, ()) for word in words))
    last, memory = model.encode(batch.source, batch.lengths)
    state, symbol = model.initial(last), batch.fed[0]
    made: list[Tensor] = []
    for _ in range(_MORE * (len(batch.source) + 1)):
        logits, state = model.decode_step(symbol, memory, state)
        logits[:, data.target.begin] = -torch.inf
        symbol = logits.argmax(-1)
        made.append(symbol)
        if all(data.target.end in row for row in torch.stack(made, dim=1).tolist()):
            break
    written = []
    for tokens in torch.stack(made, dim=1).tolist():
        end = tokens.index(data.target.end) if data.target.end in tokens else len(tokens)
        written.append([data.target.symbols[token] for token in tokens[:end]])
    return written
