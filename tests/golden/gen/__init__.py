"""Golden tables for the xlvs datapath; see ../README.md for the format."""
