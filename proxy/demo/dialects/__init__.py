"""One file per wire format: what a whole answer, a stream and an error look like in it."""
