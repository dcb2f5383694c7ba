#!/usr/bin/env bash
# ReFT on GSM8K: PPO from the warm-up that sft_gsm8k.sh trained. See examples/README.md.
# Bash runs the next line and goes no further; Python, under torchrun, takes that line for a string.
""":"; exec bash "$(dirname "$0")/launch.sh" "$0" "$@"; : << '# end' # """

import sys

sys.path[0] += "/.."  # this folder's own, to the project's
from examples.launch import run

sys.exit(run(__file__, sys.argv[1:]))
# end
