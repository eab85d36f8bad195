"""A read transaction of a shared environment: one commit, for as long as a block lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lmdb

if TYPE_CHECKING:
    from streamlsh.storage.environment import Environment


class ReadTransaction:
    """See ``Environment.read``.

    Every query goes through here, so calls are spared where that can be read.
    """

    __slots__ = ("_environment", "_thread", "_transaction")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def __enter__(self) -> lmdb.Transaction:
        environment = self._environment
        self._thread = thread = environment.enter()
        try:
            transaction: lmdb.Transaction = environment.handle.begin(buffers=True)
        except lmdb.Error as error:
            try:
                transaction = environment.begin_again(thread, error)
            except BaseException:
                environment.leave(thread)
                raise
        self._transaction = transaction
        return transaction

    def __exit__(self, *error: object) -> None:
        environment = self._environment
        if environment.inherited:  # forked within the block
            return
        try:
            self._transaction.abort()
        finally:
            environment.leave(self._thread)
