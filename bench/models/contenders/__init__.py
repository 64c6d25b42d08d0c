"""What is measured: one model, trained and evaluated in a program of its own."""
