"""What a year of updates does to an index: ``python -m tests.churn``, or ``make churn``."""
