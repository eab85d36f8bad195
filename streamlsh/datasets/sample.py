"""5,000 glosses of WordNet 3.1 with sentence embeddings (all-MiniLM-L6-v2, 384 dimensions).

WordNet's own terms stand in ``WORDNET-LICENSE.txt`` beside this file.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from streamlsh.datasets.folder import load_folder


@dataclass(frozen=True, slots=True)
class Glosses:
    """Dictionary entries and their embeddings, row by row.

    Attributes:
        ids: the word, as WordNet writes it (``light_up``); its second and later entries are
            numbered (``draw``, ``draw.2``, ``draw.3``). Unique, and the same in every release.
        vectors: float32 ``(5000, 384)``, every row of unit length.
        texts: the entry itself, ``"word: definition"``.
    """

    ids: list[str]
    vectors: npt.NDArray[np.float32]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.ids)


def glosses() -> Glosses:
    """Read the shipped sample; takes some 50 ms and 8 MB."""
    with resources.as_file(resources.files("streamlsh.datasets")) as folder:
        texts = gzip.decompress((folder / "glosses-texts.txt.gz").read_bytes()).decode()
        vectors = load_folder(folder, "glosses")
    lines = texts.splitlines()
    return Glosses(ids=_ids(lines), vectors=vectors, texts=lines)


def _ids(texts: Iterable[str]) -> list[str]:
    seen: Counter[str] = Counter()
    ids = []
    for text in texts:
        word = text.partition(": ")[0].replace(" ", "_")
        seen[word] += 1
        ids.append(word if seen[word] == 1 else f"{word}.{seen[word]}")
    return ids
