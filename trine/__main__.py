"""`python -m trine`."""

import sys

from .cli import main

sys.exit(main())
