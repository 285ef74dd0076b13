"""`python -m penstock.ventilator`."""

import sys

from penstock.ventilator.service import main

sys.exit(main())
