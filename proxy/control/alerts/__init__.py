"""Alerts: what is worth telling somebody, once, and how it reaches them."""
