#!/usr/bin/env bash
# Supervised fine-tuning on GSM8K: the warm-up that ReFT starts from. See examples/README.md.
# Bash runs the next line and goes no further; Python, under torchrun, takes that line for a string.
""":"; exec bash "$(dirname "$0")/launch.sh" "$0" "$@"; : << '# end' # """

import sys

sys.path[0] += "/.."  # this folder's own, to the project's
from examples.launch import run

sys.exit(run(__file__, sys.argv[1:]))
# end
