"""What a limit is, when its window begins, what a request will probably use, and how counting goes. Pure."""
