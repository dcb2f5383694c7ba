"""What `tools/bench_kernels.py` measures, and how."""
