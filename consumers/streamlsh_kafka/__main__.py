"""``python -m streamlsh_kafka``."""

import sys

from streamlsh_kafka.starting import main

sys.exit(main())
