import s2i  # noqa: F401  (ahead of torch: it says how threads wait)
