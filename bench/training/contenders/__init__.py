"""What is timed: each file is one way to train, a program of its own."""
