"""The sequence-to-sequence task: words to phonemes, or other pairs. `Seq2SeqTask` in `task.py` joins its parts."""
