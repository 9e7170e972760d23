"""The command line: each file parses, calls one function of a room and prints."""
