"""What `tools/bench_layers.py` measures."""
