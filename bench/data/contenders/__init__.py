"""What is timed: each file is one way to do the work, a program of its own that warms nobody else's caches."""
