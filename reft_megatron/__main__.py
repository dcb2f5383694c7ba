"""`python -m reft_megatron` is `reft-megatron`."""

from __future__ import annotations

import sys

from reft_megatron.cli import main

if __name__ == "__main__":
    sys.exit(main())
