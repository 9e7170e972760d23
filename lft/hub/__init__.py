"""The hub: names of repositories, waits, one error for each mishap, the search for secrets, one commit of files."""
