"""The figures of ``make bench``: one module a figure, one table at the end."""
