"""The engine's parts under far more work than a test of what they do would give them."""
