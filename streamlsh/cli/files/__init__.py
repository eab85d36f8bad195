"""Files of items: JSON Lines, Parquet, and NumPy arrays with a list of ids.

Every module reads its format into batches of rows and checks only its shape; what a good id,
version or vector is, the writer decides.
"""

from streamlsh.cli.files.opening import open_rows
from streamlsh.cli.files.rows import BATCH_ROWS, Rows, RowSource
from streamlsh.cli.files.vectors import read_vectors

__all__ = ["BATCH_ROWS", "RowSource", "Rows", "open_rows", "read_vectors"]
