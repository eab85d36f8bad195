"""A deterministic simulation of the consumer; ``python -m tests.simulation --help`` explains it."""
