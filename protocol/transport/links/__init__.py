"""What the links of an endpoint are made of: sockets with their options, and where they connect to."""
