"""Which family and parameters suit a data set, and how full their buckets get.

``choosing`` answers the question: it goes through the parameters of ``grid``, measures each on a
small index in ``trials``, prices it by ``costs`` at the size that is planned for, and hands back
a ``report``. ``occupancy`` counts buckets, ``plotting`` draws.
"""
