"""Where usage records live for good: the port and its adapters."""
