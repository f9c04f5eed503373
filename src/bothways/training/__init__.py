"""Recipes as typed values, and the one trainer that runs them: steps, stages, checkpoints, the dry run."""
