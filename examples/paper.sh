#!/usr/bin/env bash
# A run of the paper: paper.sh STAGE [task=] [form=] [model=] [of=] [split=]. See examples/README.md.
# Bash runs the next line and goes no further; Python, under torchrun, takes that line for a string.
""":"; exec bash "$(dirname "$0")/launch.sh" "$0" "$@"; : << '# end' # """

import sys

sys.path[0] += "/.."  # this folder's own, to the project's
from examples.launch import run

sys.exit(run(__file__, sys.argv[1:]))
# end
