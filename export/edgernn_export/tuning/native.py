"""Compiled forms: what a tuning builds to time native code, and what it leaves in the cache."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from edgernn_export.compile import build_library, compile_model, find_compiler, find_target
from edgernn_export.compile.checking import check_library
from edgernn_export.quantization.source import Contents, Source
from edgernn_runtime.engine import Engine
from edgernn_runtime.engines.library_cache import store_library
from edgernn_runtime.engines.library_file import read_library
from edgernn_runtime.engines.native import NativeEngine


class NativeForms:
    """Builds libraries of forms in a folder, each once. Mutable."""

    def __init__(self, folder: Path) -> None:
        """Find the C compiler.

        Args:
            folder: Where sources and libraries are kept while they are needed.

        Raises:
            CompileError: If there is none for this machine.
        """
        self._folder = folder
        self._target = find_target("host")
        self._compiler = find_compiler(self._target)
        self._libraries: dict[str, Path] = {}

    def opened(self, source: Source, contents: Contents) -> Engine:
        """Return an engine of a form, compiled; CompileError if it cannot be."""
        libraries = self._built(contents)
        return source.joined({name: NativeEngine(read_library(path)) for name, path in libraries.items()})

    def store(self, contents: Contents) -> None:
        """Put the libraries of a form where `load(path, engine="native")` finds them; errors as `store_library`."""
        for path in self._built(contents).values():
            store_library(path.read_bytes(), read_library(path).description.model_id)

    def _built(self, contents: Contents) -> Mapping[str, Path]:
        return {name: self._library(content) for name, content in contents.items()}

    def _library(self, content: bytes) -> Path:
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._libraries:
            folder = self._folder / digest[:16]
            folder.mkdir()
            model = folder / "model.onnx"
            model.write_bytes(content)
            compiled = compile_model(model, folder)
            path = compiled.source.with_suffix(".so")
            build_library(
                compiled.source,
                self._target,
                path,
                model_id=compiled.model_id,
                spec=compiled.spec,
                compiler=self._compiler,
            )
            check_library(path, model)
            self._libraries[digest] = path
        return self._libraries[digest]
