"""Parts of a compiled model in C beside its step; `model_` and `MODEL_` stand for the model's name."""

import re
from importlib.resources import files


def fragment(name: str, prefix: str) -> str:
    """Return a part with a model's name in it.

    Args:
        name: The name of its file, without `.c`.
        prefix: The model's name as a C identifier.
    """
    text = files(__name__).joinpath(f"{name}.c").read_text()
    return re.sub(r"\bMODEL_", f"{prefix.upper()}_", re.sub(r"\bmodel_", f"{prefix}_", text))
