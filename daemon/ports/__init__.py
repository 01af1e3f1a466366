"""Protocols that handlers know; adapters fulfil them, the composition root joins them."""
