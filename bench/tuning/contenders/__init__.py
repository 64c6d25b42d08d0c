"""What is timed: each file is one way to search, a program of its own."""
