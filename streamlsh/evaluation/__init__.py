"""How good answers are, measured against an exact scan."""

from streamlsh.evaluation.recall import recall_at_k

__all__ = ["recall_at_k"]
