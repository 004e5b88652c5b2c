"""Export to C with 8-bit weights and whole numbers only, and its twin in NumPy, bit by bit."""
