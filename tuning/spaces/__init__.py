"""What is searched: one file a space.

A space is a file of this folder with a class `Settings` (empty, until a space has settings) and a function

    space() -> dict[str, Any]       a recipe path, such as "training.learning_rate", to a Ray Tune distribution
"""
