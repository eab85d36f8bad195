"""``python -m streamlsh_kafka``."""

import sys

from streamlsh_kafka.cli import main

sys.exit(main())
