"""The arguments of each verb of the `s2i` command, verbs of one purpose in one file."""
