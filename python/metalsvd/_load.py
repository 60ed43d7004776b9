"""Loads the operator library; ``torch.ops.metalsvd`` exists afterwards."""

import sys
from pathlib import Path

import torch

_name = "libmetalsvd.dylib" if sys.platform == "darwin" else "libmetalsvd.so"


def _find_library() -> Path:
    # An editable install keeps the compiled library apart from the sources: both are on the package's path.
    for folder in sys.modules[__package__].__path__:
        library = Path(folder) / _name
        if library.exists():
            return library
    raise ImportError(f"metalsvd is installed without its operator library {_name}: reinstall it")


library_path = _find_library()
try:
    torch.ops.load_library(str(library_path))
except OSError as error:
    raise ImportError(
        f"the operator library of metalsvd does not load with torch {torch.__version__} (2.10 or later is needed): "
        f"reinstall metalsvd ({error})"
    ) from error
