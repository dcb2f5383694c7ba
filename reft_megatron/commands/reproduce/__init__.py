"""`reft-megatron reproduce`: a paper's table from one file, stage by stage."""
