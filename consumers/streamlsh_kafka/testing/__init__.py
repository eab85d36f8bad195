"""A real broker for tests, demos and benchmarks, and pytest fixtures on top of it."""

from streamlsh_kafka.testing.broker import Broker, kafka_broker
from streamlsh_kafka.testing.jars import JarBroker, SecureListener
from streamlsh_kafka.testing.process import ConsumerProcess

__all__ = ["Broker", "ConsumerProcess", "JarBroker", "SecureListener", "kafka_broker"]
