"""The socket through which commands on the same computer talk to the running agent."""
