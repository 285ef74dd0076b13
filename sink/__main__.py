"""`python -m penstock.sink`."""

import sys

from penstock.sink.service import main

sys.exit(main())
