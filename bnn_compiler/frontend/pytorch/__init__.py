"""PyTorch in: export, drop what only training needs, import to Relax."""
