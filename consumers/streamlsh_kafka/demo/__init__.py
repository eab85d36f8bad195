"""The demo: the whole way from a topic to answers, told on real data; ``streamlsh-kafka demo``."""
