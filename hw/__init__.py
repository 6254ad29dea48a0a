"""Amaranth components of the datapath. Plain integers and tuples in; no networks, files or logging here."""
