"""What `tools/bench_extractor.py` measures, and against what."""
