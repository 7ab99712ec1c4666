"""python -m bnn_compiler: the same as the command bnnc."""

import sys

from bnn_compiler.cli import main

sys.exit(main())
