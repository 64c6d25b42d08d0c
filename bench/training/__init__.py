"""From shards to weights: how fast, how good after the same time, how soon started, with how many workers and bytes."""
