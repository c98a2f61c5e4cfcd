"""Models that need another Python than ours: environments, and the processes that predict in them."""
