"""Compiled inner loops, each with a plain NumPy twin in ``tests/unit/kernels``.

Kernels work on raw addresses inside the memory map: they may only run while the LMDB
transaction that the addresses came from is open. Importing a module of this package imports
numba (some 0.3 s), so nothing here is imported before an index is opened.
"""
