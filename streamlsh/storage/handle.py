"""LMDB's own handle of an existing index, and its table of readers."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from streamlsh.errors import LockConflictError
from streamlsh.storage.failures import MAX_READERS
from streamlsh.storage.schema import DATABASES


def open_handle(directory: Path, *, readonly: bool) -> lmdb.Environment:
    """LMDB's handle, after freeing the reader slots that a dead process with this PID left.

    LMDB takes them for this process's own and so never clears them: a container's process is
    PID 1 again after every restart. But closing a handle frees all slots of the process's PID.
    """
    for _ in range(2):
        handle = lmdb.open(
            str(directory), max_dbs=len(DATABASES), max_readers=MAX_READERS,
            readonly=readonly, create=False, readahead=False,
            map_size=0,  # the size stored in the file
        )  # fmt: skip
        # Nothing of this process reads yet, so a slot with its PID is from before.
        if all(row["pid"] != os.getpid() for row in listed_readers(handle)):
            break
        handle.close()
    else:
        raise LockConflictError(
            f"{directory}/lock.mdb still lists a reader of this PID ({os.getpid()}); "
            "close every process that has the index open and remove lock.mdb"
        )
    return handle


def open_databases(handle: lmdb.Environment) -> dict[str, lmdb._Database]:
    """Handles of all databases of the schema, by name.

    Raises:
        lmdb.NotFoundError: one is missing.
    """
    if handle.flags()["readonly"]:
        return {name: handle.open_db(name.encode(), create=False) for name in DATABASES}
    # A handle that is opened in a read transaction ends with it. So this waits for a commit that is
    # under way: once, not once for each, and in a call that lets other threads run meanwhile.
    with handle.begin(write=True) as transaction:
        return {
            name: handle.open_db(name.encode(), txn=transaction, create=False) for name in DATABASES
        }


def listed_readers(handle: lmdb.Environment) -> list[dict[str, int]]:
    """The rows of LMDB's table of readers; see ``Environment.readers``."""
    fields = [row.split() for row in str(handle.readers()).splitlines()[1:]]
    return [
        {"pid": int(f[0]), "transaction": -1 if f[2] == "-" else int(f[2])}
        for f in fields
        if len(f) == 3
    ]
