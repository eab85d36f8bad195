"""The command line ``streamlsh``: one module for each group of commands.

Importing this package loads neither numpy nor numba, so that ``streamlsh --help`` is quick; the
module of a command is imported when the command runs.
"""

from streamlsh.cli.app import main

__all__ = ["main"]
