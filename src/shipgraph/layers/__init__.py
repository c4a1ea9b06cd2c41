"""A blob's content as a stream in a thread: decompression and tar members in bounded memory, trusting nothing."""
