"""The shipped sample, and folders of larger data in the same form.

Embeddings are stored as signed bytes with one scale a row; the cosine to the float32 original is
above 0.9999. Nothing is read before a function is called.
"""

from streamlsh.datasets.folder import load_folder
from streamlsh.datasets.sample import Glosses, glosses

__all__ = ["Glosses", "glosses", "load_folder"]
