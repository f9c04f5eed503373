"""One stage of a recipe: what it starts from, what it learns from, and what it leaves."""
