"""One benchmark of every part: `bash recipes/benchmark/run.sh`, or `python -m tests.benchmarks.suite`."""
