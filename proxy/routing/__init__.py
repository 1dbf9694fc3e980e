"""Who calls and where to: credentials to callers, paths to providers, headers to headers. Pure."""
