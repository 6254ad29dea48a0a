"""Passes from a network to what the hardware needs; each is a function with a stated contract."""
