"""Our models side by side on the same text for the same time: parameters, pace, bits per byte by length of context."""

PAGE = "models.md"
