"""What `bench/reliability.py` tries: one module for each way in which something may go wrong."""
