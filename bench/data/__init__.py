"""From raw conversations to tensors: how fast, how much is padded, how quickly opened, how flat the memory stays."""
