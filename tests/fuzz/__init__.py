"""Bytes from outside, and what must hold for any of them; see ``python -m tests.fuzz --help``."""
