"""`python -m speechx` is `speechx`; torchrun needs the module form."""

import sys

from speechx.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
