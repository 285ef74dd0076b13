"""`python -m penstock.worker`."""

import sys

from penstock.worker.service import main

sys.exit(main())
