"""NumPy's ``.npy`` files, mapped into memory; whatever they hold, nothing in them is executed."""

from __future__ import annotations

import tokenize
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamlsh.errors import InvalidInputError


def map_array(path: Path, kinds: str, expected: str) -> npt.NDArray[Any]:
    """Map a ``.npy`` file; memory is only taken for what is looked at.

    Args:
        path: the file.
        kinds: the letters of the NumPy kinds that its numbers may have, ``"f"`` for floats.
        expected: what errors shall say of them.

    Raises:
        InvalidInputError: it is no such file, or one of something else.
        OSError: it cannot be opened.
    """
    try:
        # Python 2's headers are read with a warning; here they count as any other damage.
        with path.open("rb"), warnings.catch_warnings(action="error"):
            array = np.lib.format.open_memmap(path, mode="r")
    except (
        ValueError,
        TypeError,
        LookupError,
        EOFError,
        OverflowError,
        # Python's parser says so of a header that nests too deep.
        MemoryError,
        RecursionError,
        SyntaxError,
        tokenize.TokenError,
        Warning,
    ) as error:
        raise InvalidInputError(
            f"{path} cannot be read", expected=f"a .npy file of {expected}",
            received=str(error) or type(error).__name__,
        ) from None  # fmt: skip
    if array.dtype.kind not in kinds:
        raise InvalidInputError(
            f"{path} holds something else", expected=expected, received=array.dtype
        )
    return array
