"""Distributions that Pyro lacks, or has in a form that loses digits, and what parts need to make them."""
