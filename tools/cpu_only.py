"""Hides GPUs from a process that has no use for one, once it is imported.

Owns the moment: it must come before whatever imports torch. So more processes than there are GPUs
may share a conversion, and none of them takes memory of one.
"""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""
