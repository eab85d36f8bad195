"""Bucket tables: the layout of their entries, immutable segments, and the unsorted tail."""
