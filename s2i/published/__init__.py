"""Readers of other people's checkpoints: their files in, networks and model folders of ours out."""
