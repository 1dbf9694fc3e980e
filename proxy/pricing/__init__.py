"""Pricing: what a call costs, in exact decimal dollars; what is not known stays unknown."""
