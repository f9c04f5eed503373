"""Training: recipes as values, one trainer for every objective, several processes."""
