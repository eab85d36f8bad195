"""The index file: an LMDB environment, its key schema, and what its values look like."""
