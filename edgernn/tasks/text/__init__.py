"""The text task: a recurrent model of characters or bytes. `TextTask` in `task.py` joins its parts."""

from edgernn.tasks.text.corpus import Corpus as Corpus
from edgernn.tasks.text.corpus import builtin_text as builtin_text
from edgernn.tasks.text.corpus import make_codec as make_codec
from edgernn.tasks.text.corpus import read_text as read_text
from edgernn.tasks.text.corpus import split_text as split_text
