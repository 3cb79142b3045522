"""Families of speech synthesisers, one file each, and the plan of who speaks which caption."""
