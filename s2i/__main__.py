"""`python -m s2i` is the `s2i` command."""

from s2i.cli import main

if __name__ == "__main__":
    main()
