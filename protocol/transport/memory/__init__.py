"""How processes of one host agree about memory that they share."""
