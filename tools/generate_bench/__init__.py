"""What `tools/bench_generate.py` measures, and against whom."""
