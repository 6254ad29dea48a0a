"""Training of small binarized networks with PyTorch, and their exact export to integer network files.

Needs the optional extra ``train``; nothing outside this package imports PyTorch. The modules that do not need it
(`datasets`, `recipe`, `reference`) import without it.
"""
