"""The commands of `penstock`, one module each; `penstock.cli` lists them."""
