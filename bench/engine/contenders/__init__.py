"""The programs that are timed, each a process of its own."""
