"""`python -m mbv2ssd_train` is the same as `mbv2ssd_train`."""

import sys

from mbv2ssd_train.cli import main

sys.exit(main())
