"""The endpoint over HTTP: what it costs, how long one waits, what is lost when things break. One file a question."""

PAGE = "serving.md"
