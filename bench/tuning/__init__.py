"""Searches: what ASHA and TPE find beside a full grid, and what a trial costs beside its training."""
