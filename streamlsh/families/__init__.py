"""Hash families: what puts vectors into buckets, frozen with the index.

``registry`` names them; ``base`` says what a family must offer; each family has its own file.
"""
