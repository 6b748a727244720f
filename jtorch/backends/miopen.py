"""MIOpen's switch, kept for reading: XLA chooses its algorithms on AMD's GPUs by itself."""

immediate = False
