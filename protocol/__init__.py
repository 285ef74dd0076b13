"""What every part of Penstock shares: words, wire, order and the socket shell."""
